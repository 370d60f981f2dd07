"""Pure functions between ROS messages and arrays; no node, no rclpy."""

from __future__ import annotations

import array
from collections.abc import Iterable, Mapping, Sequence
import json
import math
import platform
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String

from dcfm_ros.diagnostics import Status

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # released with ROS, but not as a wheel
    LabelInfo = VisionClass = None

MAX_PIXELS = 7680 * 4320
_TO_RGB: Mapping[str, tuple[int, int | None]] = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    'rgba8': (4, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
    'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY),
    'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUY2),
    'yuyv': (2, cv2.COLOR_YUV2RGB_YUY2),
}
"""Bytes per pixel and OpenCV conversion of every encoding that is understood."""
OUTPUTS: Mapping[str, tuple[str, Any, int]] = {
    'mask': ('mask', Image, 5),
    'confidence': ('confidence', Image, 1),
    'color_mask': ('color_mask', Image, 1),
    'overlay': ('overlay', Image, 1),
    'timing': ('~/timing', DiagnosticArray, 10),
    'processing_time_ms': ('~/debug/processing_time_ms', Float64, 10),
    'cyclic_time_ms': ('~/debug/cyclic_time_ms', Float64, 10),
    'pipeline_latency_ms': ('~/debug/pipeline_latency_ms', Float64, 10),
}
"""Topic, message type and queue depth of what is published per frame.

With depth 1 the next mask overwrites one that reliable transport is about to send again: 2 of
3,000 masks were lost so. What is for the eye only may be lost.
"""


def image_to_rgb(message: Image) -> NDArray[np.uint8]:
    """Look at an image message as RGB.

    Args:
        message: Any of the 8-bit encodings above; rows may be padded (`step` above the row's own
            length).

    Returns:
        (H, W, 3). For rgb8 a view of the message's own data, otherwise a converted copy.

    Raises:
        ValueError: If encoding, size, step and data do not make an image; says which and why.
    """
    if message.encoding not in _TO_RGB:
        allowed = ', '.join(_TO_RGB)
        raise ValueError(f'`encoding` must be one of {allowed}, got {message.encoding!r}')
    bytes_per_pixel, conversion = _TO_RGB[message.encoding]
    _check_layout(message, bytes_per_pixel)
    height, width, step = message.height, message.width, message.step
    rows = np.frombuffer(message.data, np.uint8, height * step).reshape(height, step)
    pixels = rows[:, : width * bytes_per_pixel].reshape(height, width, bytes_per_pixel)
    if conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def _check_layout(message: Image, bytes_per_pixel: int) -> None:
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    if height == 0 or width == 0:
        raise ValueError(f'`width` x `height` must be at least 1 x 1, got {width} x {height}')
    if height * width > MAX_PIXELS:
        allowed = f'at most {MAX_PIXELS} pixels (7680 x 4320)'
        raise ValueError(f'`width` x `height` must be {allowed}, got {width} x {height}')
    if bytes_per_pixel == 2 and width % 2:
        raise ValueError(f'`width` must be even for {message.encoding}, got {width}')
    if step < width * bytes_per_pixel:
        allowed = f'at least {width * bytes_per_pixel} bytes ({width} pixels {message.encoding})'
        raise ValueError(f'`step` must be {allowed}, got {step}')
    if size < height * step:
        allowed = f'at least {height * step} bytes (height {height} x step {step})'
        raise ValueError(f'`data` must be {allowed}, got {size}')


def array_to_image(pixels: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """Put an array into an image message without row padding.

    Args:
        pixels: (H, W) for mono8, (H, W, 3) for rgb8.
        encoding: 'mono8' or 'rgb8'.
        header: Becomes the header of the message as it is.
    """
    message = Image(header=header, encoding=encoding, is_bigendian=0)
    message.height, message.width = pixels.shape[:2]
    message.step = math.prod(pixels.shape[1:])
    # An array.array is the one type that the setter takes over unchecked and uncopied; bytes or
    # an ndarray are walked through element by element (0.4 s for a 1080p image).
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    message.data = data
    return message


def confidence_to_image(confidence: NDArray[np.float32], header: Header) -> Image:
    """Turn confidences in [0, 1], (H, W), into a mono8 image of 0 to 255."""
    scaled = cv2.convertScaleAbs(confidence, alpha=255.0)
    return array_to_image(np.asarray(scaled, np.uint8), 'mono8', header)


def stamp_to_ns(stamp: Time) -> int:
    """Nanoseconds since the epoch of the stamp's clock."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Inverse of `stamp_to_ns`."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def number(value: float) -> Float64:
    """Wrap a number."""
    return Float64(data=value)


def label_messages(
    names: Sequence[str], palette: Sequence[tuple[int, int, int]], header: Header
) -> dict[str, Any]:
    """Tell what the mask's ids mean, by topic.

    Returns:
        'labels': std_msgs/String, JSON {"0": {"name": "sky", "rgb": [128, 128, 128]}, ...}, and
        'label_info': vision_msgs/LabelInfo, where that package is installed.
    """
    labels = {
        str(index): {'name': name, 'rgb': list(colour)}
        for index, (name, colour) in enumerate(zip(names, palette, strict=True))
    }
    found: dict[str, Any] = {'labels': String(data=json.dumps(labels))}
    if LabelInfo is not None:
        classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(names)]
        found['label_info'] = LabelInfo(header=header, class_map=classes)
    return found


def statuses_to_diagnostics(
    statuses: Iterable[Status], header: Header, node_name: str
) -> DiagnosticArray:
    """Build a diagnostics message; a status is named '<node_name>: <task>' (REP 107).

    The hardware is this computer.
    """
    array_message = DiagnosticArray(header=header)
    for status in statuses:
        array_message.status.append(
            DiagnosticStatus(
                name=f'{node_name}: {status.task}',
                level=bytes([status.level]),
                message=status.message,
                hardware_id=platform.node(),
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
        )
    return array_message
