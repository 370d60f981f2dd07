"""Depth image and mask as a cloud of labelled points; no ROS.

The depth image must be rectified and registered to the camera of the mask: same view, any size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.calibration import Intrinsics, check_same_view
from dcfm_ros.masks.confidence import is_sure
from dcfm_ros.masks.resize import resize_nearest

T = TypeVar('T', bound=np.generic)

POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'rgb', 'label', 'confidence'],
        'formats': ['f4', 'f4', 'f4', 'f4', 'u4', 'f4'],
        'offsets': [0, 4, 8, 16, 20, 24],
    }
)
"""One point of the cloud.

x, y, z (m, optical frame) and rgb (bits 0x00RRGGBB) lie where depth_image_proc puts them; with the
label they are PCL's PointXYZRGBL.
"""


def point_type(channels: Sequence[str] = ()) -> np.dtype[np.void]:
    """`POINT`, followed by a float32 field for each channel."""
    if not channels:
        return POINT
    fields: Mapping[str, Any] = POINT.fields or {}
    size, itemsize = np.dtype('f4').itemsize, POINT.itemsize
    return np.dtype(
        {
            'names': [*fields, *channels],
            'formats': [kind for kind, *_ in fields.values()] + ['f4'] * len(channels),
            'offsets': [offset for _, offset, *_ in fields.values()]
            + [itemsize + size * index for index in range(len(channels))],
        }
    )


def on_depth_grid(name: str, image: NDArray[T], depth_size: tuple[int, int]) -> NDArray[T]:
    """Take the nearest pixel of an image, (H, W) or (H, W, C), for each pixel of the depth image.

    Both show the same view; the size is width and height, the name is for the error.

    Raises:
        ValueError: If the aspect ratios differ.
    """
    size = (image.shape[1], image.shape[0])
    if size == depth_size:
        return image
    check_same_view(name, size, depth_size)
    return resize_nearest(image, depth_size[::-1])


def pack_rgb(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Put colours, (..., 3), into the bits of one float each, as point clouds have them."""
    red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
    return (red << 16 | green << 8 | blue).view(np.float32)


def believe(
    mask: NDArray[np.uint8],
    confidence: NDArray[np.uint8] | None,
    is_wanted: NDArray[np.bool_],
    min_confidence: float,
) -> NDArray[np.bool_]:
    """Which pixels may make a point: those of wanted classes that the network is sure enough of.

    Args:
        mask: Class ids, (H, W).
        confidence: 0 to 255, (H, W). None: all are sure.
        is_wanted: Which ids are, (256,).
        min_confidence: Lowest confidence of a point, in [0, 1].
    """
    is_believed = is_wanted[mask]
    if confidence is not None and min_confidence > 0:
        is_believed &= is_sure(confidence, min_confidence)
    return is_believed


def fill_points(
    points: NDArray[np.void],
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    mask: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
    rgb: NDArray[np.float32],
    stride: int = 1,
) -> None:
    """Project each pixel into space.

    Args:
        points: Of a `point_type`, to be filled but for the channels, (H, W).
        depth: Distance along the optical axis in m, (H, W); nan makes x, y and z nan.
        intrinsics: Of the image that the arrays are from.
        mask: Class ids, (H, W).
        confidence: 0 to 255, (H, W).
        rgb: Packed colours, (H, W).
        stride: Step between those rows and columns of the image that the arrays have, from the
            first on.
    """
    height, width = depth.shape
    columns = (np.arange(width) * stride - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(height) * stride - intrinsics.cy) / intrinsics.fy
    np.multiply(depth, columns.astype(np.float32), out=points['x'])
    np.multiply(depth, rows.astype(np.float32)[:, None], out=points['y'])
    points['z'] = depth
    points['rgb'] = rgb
    points['label'] = mask
    np.multiply(confidence, np.float32(1 / 255), out=points['confidence'])


def fill_channels(points: NDArray[np.void], channels: Mapping[str, NDArray[np.bool_]]) -> None:
    """Set each channel to the confidence of the points that are of its class, and to 0 elsewhere.

    Args:
        points: Of the `point_type` of the channels, whose other fields are filled, (H, W).
        channels: By name, which ids are of the class, (256,).
    """
    for name, is_member in channels.items():
        np.multiply(points['confidence'], is_member[points['label']], out=points[name])


def select_points(points: NDArray[np.void], is_selected: NDArray[np.bool_]) -> NDArray[np.void]:
    """The points of some pixels, (N,); both arguments are (H, W)."""
    selected: NDArray[np.void] = points.reshape(-1).take(np.flatnonzero(is_selected))
    return selected
