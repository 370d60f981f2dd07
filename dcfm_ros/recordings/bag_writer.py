"""Frames as a rosbag2 recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dcfm_ros.files import new_folder
from dcfm_ros.recordings.frame import SourceError, SourceFrame

_STORE = get_typestore(Stores.ROS2_JAZZY)
_IMAGE = 'sensor_msgs/msg/Image'


def write_bag(
    path: Path,
    frames: Iterable[SourceFrame],
    *,
    topic: str = '/camera/image_raw',
    label_topic: str = '/camera/label',
) -> int:
    """Record frames, and their labels where there are any, as a rosbag2 folder (MCAP).

    `path` appears when everything is written.

    Args:
        path: Folder to create.
        frames: What to record.
        topic: Image topic.
        label_topic: Mask topic, with the header of the image.

    Returns:
        Number of images written.

    Raises:
        FileExistsError: If `path` is there already and not an empty folder.
        SourceError: If there are no frames.
    """
    count = 0
    with new_folder(path) as part:
        part.rmdir()  # the writer wants to create it
        with Writer(part, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = {}
            for frame in frames:
                for name, message in _messages(frame, topic, label_topic):
                    if name not in connections:
                        added = writer.add_connection(name, _IMAGE, typestore=_STORE)
                        connections[name] = added
                    raw = _STORE.serialize_cdr(message, _IMAGE)
                    writer.write(connections[name], frame.stamp_ns, raw)
                count += 1
        if not count:
            raise SourceError(f'there are no frames to record to {path}')
    return count


def _messages(frame: SourceFrame, topic: str, label_topic: str) -> Iterator[tuple[str, Any]]:
    yield topic, _image(frame, frame.image, 'rgb8')
    if frame.label is not None:
        yield label_topic, _image(frame, frame.label, 'mono8')


def _image(frame: SourceFrame, plane: NDArray[np.uint8], encoding: str) -> Any:
    sec, nanosec = divmod(frame.stamp_ns, 1_000_000_000)
    stamp = _STORE.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
    plane = np.ascontiguousarray(plane)
    return _STORE.types[_IMAGE](
        header=_STORE.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame.frame_id),
        height=plane.shape[0],
        width=plane.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=plane.strides[0],
        data=plane.ravel(),
    )
