"""Depth images and masks as arrays; no ROS.

A message is anything with the fields of sensor_msgs/Image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.raw import rows_of

_MASK_ENCODINGS = ('mono8', '8UC1')
_DEPTH_ENCODINGS = ('16UC1', 'mono16', '32FC1')


def image_to_depth(
    message: Any, min_range: float = 0.0, max_range: float = 0.0
) -> NDArray[np.float32]:
    """Read a depth image as REP 118 has it: 16UC1 in mm or 32FC1 in m.

    Args:
        message: sensor_msgs/Image of either byte order; rows may be padded.
        min_range: Smallest valid depth, m.
        max_range: Largest valid depth, m; 0: no limit.

    Returns:
        Distances along the optical axis in m, (H, W); nan where there is none: 0 and below, nan,
        and the infinities, which mean too near and too far (REP 117).

    Raises:
        ValueError: If the message is something else; says which field and why.
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
        ValueError: If the message is something else; says which field and why.
    """
    if message.encoding not in _MASK_ENCODINGS:
        allowed = ' or '.join(_MASK_ENCODINGS)
        raise ValueError(f'`encoding` of {name} must be {allowed}, got {message.encoding!r}')
    pixels: NDArray[np.uint8] = _pixels(message, name, np.dtype(np.uint8))
    return pixels


def _pixels(message: Any, name: str, kind: np.dtype[Any]) -> NDArray[Any]:
    """The pixels of an image with one channel, (H, W), not copied."""
    rows = rows_of(message, kind.itemsize, message.height, f'of {name} ')
    return np.ascontiguousarray(rows).view(kind)
