"""A mask of another size than its image, and the calibration that belongs to it; no ROS."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar('T', bound=np.generic)


def resize_nearest(pixels: NDArray[T], size: tuple[int, ...]) -> NDArray[T]:
    """Take the pixel under the centre of each new pixel, so that no class is invented.

    Args:
        pixels: (H, W).
        size: (height, width) of the result.

    Returns:
        (height, width); `pixels` itself if that is its size.
    """
    if pixels.shape[:2] == size:
        return pixels
    # The plain INTER_NEAREST takes the corner, which shifts the mask by up to half a pixel.
    resized = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, pixels.dtype)


def resize_picture(pixels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resize an RGB image, (H, W, 3), to (height, width), for the eye."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def described_size(info: Any) -> tuple[int, int]:
    """(height, width) of the images that a camera_info describes: its window, binned."""
    height = (info.roi.height or info.height) // max(info.binning_y, 1)
    width = (info.roi.width or info.width) // max(info.binning_x, 1)
    return height, width


def camera_info_of_mask(
    info: Any, header: Any, image_size: tuple[int, ...], mask_size: tuple[int, ...]
) -> Any:
    """Calibration of the mask as if it had been taken by a camera of its own size.

    At another size than the image's, window (ROI) and binning become part of K and P, which is
    exact where a scaled window would have to be rounded. Coordinates are multiplied by the ratio
    of the sizes, as image_proc does it. Distortion is that of the lens and stays.

    Args:
        info: Anything with the fields of sensor_msgs/CameraInfo; not changed.
        header: Becomes the header as it is.
        image_size: (height, width) of the image.
        mask_size: (height, width) of its mask.

    Returns:
        A copy, of `mask_size`.

    Raises:
        ValueError: If `info` describes images of another size.
    """
    if described_size(info) != image_size:
        (height, width), (rows, columns) = image_size, described_size(info)
        allowed = f'of {width} x {height} images, as they come'
        raise ValueError(f'`camera_info` must be {allowed}, got {columns} x {rows}')
    scaled = copy.deepcopy(info)
    scaled.header = header
    if mask_size == image_size:
        return scaled
    roi, (height, width) = scaled.roi, mask_size
    scale_x = width / image_size[1] / max(info.binning_x, 1)
    scale_y = height / image_size[0] / max(info.binning_y, 1)
    to_mask = np.array(
        [
            [scale_x, 0.0, -scale_x * roi.x_offset],
            [0.0, scale_y, -scale_y * roi.y_offset],
            [0.0, 0.0, 1.0],
        ]
    )
    scaled.k = (to_mask @ np.reshape(info.k, (3, 3))).ravel()
    scaled.p = (to_mask @ np.reshape(info.p, (3, 4))).ravel()
    scaled.height, scaled.width = height, width
    scaled.binning_x = scaled.binning_y = 0
    roi.x_offset = roi.y_offset = roi.height = roi.width = 0
    roi.do_rectify = False
    return scaled
