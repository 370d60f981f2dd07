"""Masks as Autoware expects them: run-length encoded, with its class ids. No ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

AUTOWARE_CLASSES = (
    'unknown', 'building', 'wall', 'obstacle', 'traffic_light', 'traffic_sign', 'person',
    'vehicle', 'bike', 'road', 'sidewalk', 'roadpaint', 'curbstone', 'crosswalk', 'vegetation',
    'sky',
)  # fmt: skip
"""By id, in the order of segmentation_pointcloud_fusion."""
_RUN = np.dtype([('value', 'u1'), ('length', '<i4')])


def encode_runs(mask: NDArray[np.uint8]) -> bytes:
    """Encode a mask as tensorrt_yolox does.

    Args:
        mask: Class ids, (H, W), read row by row; a run may continue in the next row.

    Returns:
        5 bytes per run: the id, and its number of pixels as a little-endian int32.
    """
    pixels = np.ascontiguousarray(mask).reshape(-1)
    starts = np.flatnonzero(np.diff(pixels, prepend=pixels[:1] + 1))
    runs = np.empty(len(starts), _RUN)
    runs['value'] = pixels[starts]
    runs['length'] = np.diff(starts, append=pixels.size)
    return runs.tobytes()


def autoware_ids(names: Mapping[int, str], class_map: Sequence[str]) -> NDArray[np.uint8]:
    """Find Autoware's id for each id of a mask.

    Args:
        names: Names of the classes, by id.
        class_map: Entries name:autoware_class.

    Returns:
        Indices into `AUTOWARE_CLASSES`, (256,); 0 (unknown) for classes not in `class_map`.

    Raises:
        ValueError: If an entry has another form or names an unknown class of Autoware.
    """
    ids = np.zeros(256, np.uint8)
    for entry in class_map:
        name, _, target = entry.rpartition(':')
        if not name or target not in AUTOWARE_CLASSES:
            allowed = f'name:class with a class of {", ".join(AUTOWARE_CLASSES)}'
            raise ValueError(f'`class_map` must have entries {allowed}, got {entry!r}')
        for index in (index for index, known in names.items() if known == name):
            ids[index] = AUTOWARE_CLASSES.index(target)
    return ids
