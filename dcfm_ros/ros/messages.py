"""Pure functions between ROS messages and arrays; no node, no rclpy."""

from __future__ import annotations

import array
from collections.abc import Iterable, Sequence
import math
import platform
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.ros.health.status import Status

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # released with ROS, but not as a wheel
    LabelInfo = VisionClass = None

_INT16 = np.arange(256, dtype=np.int16)
_INT16[UNLABELLED] = -1


def array_to_image(pixels: NDArray[Any], encoding: str, header: Header) -> Image:
    """Put an array into an image message without row padding.

    Args:
        pixels: uint8, (H, W) for mono8, (H, W, 3) for rgb8; int16, (H, W), for 16SC1.
        encoding: 'mono8', 'rgb8' or '16SC1'.
        header: Becomes the header of the message as it is.
    """
    message = Image(header=header, encoding=encoding, is_bigendian=0)
    message.height, message.width = pixels.shape[:2]
    message.step = math.prod(pixels.shape[1:]) * pixels.itemsize
    message.data = as_array(pixels)
    return message


def as_array(values: NDArray[Any]) -> array.array[int]:
    """The bytes of an array in the only type that a message never looks into.

    Where its checks are on, it goes through bytes or an ndarray element by element, 0.4 s for a
    1080p image; where they are off, it copies whatever it is given.
    """
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return data


def confidence_to_image(confidence: NDArray[np.float32], header: Header) -> Image:
    """Turn confidences in [0, 1], (H, W), into a mono8 image of 0 to 255."""
    scaled = cv2.convertScaleAbs(confidence, alpha=255.0)
    return array_to_image(np.asarray(scaled, np.uint8), 'mono8', header)


def ids_to_int16_image(ids: NDArray[np.uint8], header: Header) -> Image:
    """Turn ids, (H, W), into a 16SC1 image in which 255, unlabelled, is -1."""
    return array_to_image(np.asarray(cv2.LUT(ids, _INT16)), '16SC1', header)


def png_to_message(png: NDArray[np.uint8], header: Header) -> CompressedImage:
    """Put the bytes of a mono8 PNG file into a message, as compressed_image_transport does."""
    message = CompressedImage(header=header, format='mono8; png compressed mono8')
    message.data = as_array(png)
    return message


def stamp_to_ns(stamp: Time) -> int:
    """Nanoseconds since the epoch of the stamp's clock."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Inverse of `stamp_to_ns`."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def label_messages(
    names: Sequence[str], palette: Sequence[tuple[int, int, int]], header: Header
) -> dict[str, Any]:
    """What the mask's ids mean, by topic.

    Returns:
        'labels': std_msgs/String, the JSON of `ClassLabels`, and 'label_info':
        vision_msgs/LabelInfo, where that package is installed.
    """
    labels = ClassLabels(dict(enumerate(names)), dict(enumerate(palette)))
    found: dict[str, Any] = {'labels': String(data=labels.to_json())}
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
    entries = [
        DiagnosticStatus(
            name=f'{node_name}: {status.task}',
            level=bytes([status.level]),
            message=status.message,
            hardware_id=platform.node(),
            values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
        )
        for status in statuses
    ]
    return DiagnosticArray(header=header, status=entries)
