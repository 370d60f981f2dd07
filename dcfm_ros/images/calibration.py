"""The calibration of a camera (sensor_msgs/CameraInfo) for images of another size; no ROS.

`info` is anything with the fields of the message. Images show its window (ROI), binned.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAX_ASPECT_DIFFERENCE = 0.01


@dataclass(frozen=True)
class Window:
    """The part of the sensor that an image shows, and how many of its pixels make one."""

    x_offset: int
    y_offset: int
    binning_x: int
    binning_y: int
    width: int
    height: int
    """Of the image."""

    @classmethod
    def of(cls, info: Any) -> Window:
        """The window of a calibration."""
        roi = info.roi
        binning_x, binning_y = max(info.binning_x, 1), max(info.binning_y, 1)
        width = (roi.width or info.width) // binning_x
        height = (roi.height or info.height) // binning_y
        return cls(roi.x_offset, roi.y_offset, binning_x, binning_y, width, height)

    def matrix(self, width: int, height: int) -> NDArray[np.float64]:
        """From pixels of the whole sensor to those of an image of some size, (3, 3).

        Coordinates are multiplied by the ratio of the sizes, as image_proc does it.
        """
        scale_x = width / self.width / self.binning_x
        scale_y = height / self.height / self.binning_y
        return np.array(
            [
                [scale_x, 0.0, -scale_x * self.x_offset],
                [0.0, scale_y, -scale_y * self.y_offset],
                [0.0, 0.0, 1.0],
            ]
        )


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of a rectified image, in pixels; (0, 0) is the middle of the first pixel."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


def intrinsics_of(info: Any, width: int, height: int) -> Intrinsics:
    """The camera that took a rectified depth image of a size.

    As in image_geometry, P counts, or K where P is empty. A calibration of another size and the
    same aspect ratio is scaled.

    Raises:
        ValueError: If the camera is not calibrated or the aspect ratio is another.
    """
    if info.p[0] and info.p[5]:
        fx, cx, fy, cy = info.p[0], info.p[2], info.p[5], info.p[6]
    else:
        fx, cx, fy, cy = info.k[0], info.k[2], info.k[4], info.k[5]
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
        got = f'fx {fx}, fy {fy}, cx {cx}, cy {cy}'
        raise ValueError(f'`camera_info` must have focal lengths above 0 in P or K, got {got}')
    window = Window.of(info)
    if window.width == 0 or window.height == 0:
        got = f'{window.width} x {window.height}'
        raise ValueError(f'`camera_info` must have a size, got {got}')
    check_same_view('camera_info', (window.width, window.height), (width, height))
    camera = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    scaled = window.matrix(width, height) @ camera
    fx, fy, cx, cy = scaled[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    return Intrinsics(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)


def camera_info_of_mask(
    info: Any, header: Any, image_size: tuple[int, ...], mask_size: tuple[int, ...]
) -> Any:
    """Calibration of the mask as if it had been taken by a camera of its own size.

    At another size than the image's, window and binning become part of K and P, which is exact
    where a scaled window would have to be rounded. Distortion is that of the lens and stays.

    Args:
        info: Of the image; not changed.
        header: Becomes the header as it is.
        image_size: (height, width) of the image.
        mask_size: (height, width) of its mask.

    Returns:
        A copy, of `mask_size`.

    Raises:
        ValueError: If `info` describes images of another size.
    """
    window = Window.of(info)
    if (window.height, window.width) != image_size:
        allowed = f'of {image_size[1]} x {image_size[0]} images, as they arrive'
        got = f'{window.width} x {window.height}'
        raise ValueError(f'`camera_info` must be {allowed}, got {got}')
    scaled = copy.deepcopy(info)
    scaled.header = header
    if mask_size == image_size:
        return scaled
    height, width = mask_size
    to_mask = window.matrix(width, height)
    scaled.k = (to_mask @ np.reshape(info.k, (3, 3))).ravel()
    scaled.p = (to_mask @ np.reshape(info.p, (3, 4))).ravel()
    scaled.height, scaled.width = height, width
    scaled.binning_x = scaled.binning_y = 0
    roi = scaled.roi
    roi.x_offset = roi.y_offset = roi.height = roi.width = 0
    roi.do_rectify = False
    return scaled


def check_same_view(
    name: str, size: tuple[int, int], other_size: tuple[int, int], other: str = 'depth image'
) -> None:
    """Refuse a size (width, height) that cannot show what another image shows.

    Raises:
        ValueError: If the aspect ratios differ by more than rounding explains.
    """
    (width, height), (other_width, other_height) = size, other_size
    aspects = width * other_height / (height * other_width)
    if abs(aspects - 1.0) > _MAX_ASPECT_DIFFERENCE:
        allowed = f'of the {other}, {other_width} x {other_height}'
        question = ': is the depth registered to this camera?' if other == 'depth image' else ''
        raise ValueError(
            f'`{name}` must have the aspect ratio {allowed}, got {width} x {height}{question}'
        )
