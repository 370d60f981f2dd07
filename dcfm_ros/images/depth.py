"""Depth images, masks and calibrations as arrays and numbers; no ROS.

A message is anything with the fields of the one in sensor_msgs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.cloud.points import Intrinsics
from dcfm_ros.images.raw import check_size
from dcfm_ros.masks.resize import described_size

_MASK_ENCODINGS = ('mono8', '8UC1')
_DEPTH_ENCODINGS = ('16UC1', 'mono16', '32FC1')


def image_to_depth(
    message: Any, min_range: float = 0.0, max_range: float = 0.0
) -> NDArray[np.float32]:
    """Read a depth image as REP 118 has it: 16UC1 in mm or 32FC1 in m.

    Args:
        message: sensor_msgs/Image of either byte order; rows may be padded.
        min_range: m; what is nearer is invalid.
        max_range: m; what is farther is invalid, 0: nothing is.

    Returns:
        Distances along the optical axis in m, (H, W); nan where there is none: 0 and below, nan,
        and the infinities, which mean too near and too far (REP 117).

    Raises:
        ValueError: If the message is no such image; says which field and why.
    """
    if message.encoding not in _DEPTH_ENCODINGS:
        allowed = ', '.join(_DEPTH_ENCODINGS)
        raise ValueError(f'`encoding` of depth must be one of {allowed}, got {message.encoding!r}')
    order = '>' if message.is_bigendian else '<'
    if message.encoding == '32FC1':
        depth = _pixels(message, 'depth', np.dtype(f'{order}f4')).astype(np.float32)
    else:
        millimetres = _pixels(message, 'depth', np.dtype(f'{order}u2'))
        depth = millimetres.astype(np.float32) * np.float32(0.001)
    farthest = max_range or np.finfo(np.float32).max
    with np.errstate(invalid='ignore'):
        is_valid = (depth > 0.0) & (depth >= min_range) & (depth <= farthest)
    depth[~is_valid] = np.nan
    return depth


def image_to_ids(message: Any, name: str) -> NDArray[np.uint8]:
    """Look at a mask, or a confidence, as (H, W).

    Args:
        message: sensor_msgs/Image, mono8 or 8UC1; rows may be padded.
        name: What it is, for the error.

    Raises:
        ValueError: If the message is no such image; says which field and why.
    """
    if message.encoding not in _MASK_ENCODINGS:
        allowed = ' or '.join(_MASK_ENCODINGS)
        raise ValueError(f'`encoding` of {name} must be {allowed}, got {message.encoding!r}')
    pixels: NDArray[np.uint8] = _pixels(message, name, np.dtype(np.uint8))
    return pixels


def intrinsics_of(info: Any, width: int, height: int) -> Intrinsics:
    """The camera that took a rectified depth image of a size.

    As image_geometry does, P counts, and K only where P is empty; window (ROI) and binning are
    applied. A calibration of another size and the same aspect ratio is scaled.

    Raises:
        ValueError: If the camera is not calibrated or the aspect ratio is another.
    """
    if info.p[0] and info.p[5]:
        fx, cx, fy, cy = info.p[0], info.p[2], info.p[5], info.p[6]
    else:
        fx, cx, fy, cy = info.k[0], info.k[2], info.k[4], info.k[5]
    values = np.array([fx, fy, cx, cy], np.float64)
    if not (np.isfinite(values).all() and fx > 0 and fy > 0):
        got = f'fx {fx}, fy {fy}, cx {cx}, cy {cy}'
        raise ValueError(f'`camera_info` must have focal lengths above 0 in P or K, got {got}')
    rows, columns = described_size(info)
    if rows == 0 or columns == 0:
        raise ValueError(f'`camera_info` must have a size, got {columns} x {rows}')
    binning_x, binning_y = max(info.binning_x, 1), max(info.binning_y, 1)
    camera = Intrinsics(
        width=columns,
        height=rows,
        fx=fx / binning_x,
        fy=fy / binning_y,
        cx=(cx - info.roi.x_offset) / binning_x,
        cy=(cy - info.roi.y_offset) / binning_y,
    )
    return camera.resized(width, height)


def _pixels(message: Any, name: str, kind: np.dtype[Any]) -> NDArray[Any]:
    """The pixels of an image with one channel, (H, W), not copied."""
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    check_size(height, width)
    length = width * kind.itemsize
    if step < length:
        allowed = f'at least {length} bytes ({width} pixels {message.encoding})'
        raise ValueError(f'`step` of {name} must be {allowed}, got {step}')
    if size < height * step:
        allowed = f'at least {height * step} bytes (height {height} x step {step})'
        raise ValueError(f'`data` of {name} must be {allowed}, got {size}')
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)
    return np.ascontiguousarray(rows[:, :length]).view(kind)
