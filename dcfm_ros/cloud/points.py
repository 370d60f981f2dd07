"""Depth image and mask as a cloud of labelled points; no ROS.

The depth image must be rectified and registered to the camera of the mask: same view, any size.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.calibration import Intrinsics, check_same_view
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


def build_points(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    mask: NDArray[np.uint8],
    confidence: NDArray[np.uint8] | None,
    rgb: NDArray[np.float32],
    stride: int = 1,
) -> NDArray[np.void]:
    """Project each pixel into space.

    Args:
        depth: Distance along the optical axis in m, (H, W); nan where there is none.
        intrinsics: Of an image of that size.
        mask: Class ids, (H, W).
        confidence: 0 to 255, (H, W). None: 1.0 everywhere, as Nav2's layer assumes.
        rgb: Packed colours, (H, W).
        stride: Step between the rows and columns taken, from the first on.

    Returns:
        `POINT`s of shape (ceil(H / stride), ceil(W / stride)). Where there is no depth, x, y and z
        are nan.
    """
    step = slice(None, None, stride)
    columns = (np.arange(depth.shape[1])[step] - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(depth.shape[0])[step] - intrinsics.cy) / intrinsics.fy
    z = depth[step, step]
    points = np.zeros(z.shape, POINT)  # not np.empty: the gap between z and rgb is sent too
    points['x'] = columns.astype(np.float32) * z
    points['y'] = rows.astype(np.float32)[:, None] * z
    points['z'] = z
    points['rgb'] = rgb[step, step]
    points['label'] = mask[step, step]
    points['confidence'] = 1.0
    if confidence is not None:
        points['confidence'] = confidence[step, step] * np.float32(1 / 255)
    return points


def keep_points(
    points: NDArray[np.void], is_kept: NDArray[np.bool_], min_confidence: float
) -> NDArray[np.void]:
    """Only the points that have a place in space, a wanted class and enough confidence, (N,).

    `is_kept` says which class ids are wanted, (256,).
    """
    kept = is_kept[points['label']] & ~np.isnan(points['z'])
    kept &= points['confidence'] >= np.float32(min_confidence)
    return points[kept]
