"""A topic of a rosbag, and the decoding of its messages."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from backports import zstd
from rosbags.typesys import Stores, get_typestore

_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class BagTopic(NamedTuple):
    """What the messages of a topic are."""

    kind: str
    """Message type, for example sensor_msgs/msg/Image."""
    encoding: str
    """'cdr' in ROS 2, 'ros1' in a ROS 1 .bag; an MCAP file may have others."""

    def decode(self, raw: bytes) -> Any:
        """Decode a message of this topic."""
        if self.encoding == 'ros1':
            return _typestore(Stores.ROS1_NOETIC).deserialize_ros1(raw, self.kind)
        # Messages may be compressed one by one; plain CDR begins with 00 01 00 00.
        data = zstd.decompress(raw) if raw[:4] == _ZSTD_MAGIC else raw
        return _typestore(Stores.ROS2_JAZZY).deserialize_cdr(data, self.kind)


def stamp_of(content: Any) -> int:
    """Header stamp of a message, ns."""
    stamp = content.header.stamp
    # ROS 1 says nsec.
    nanosec = stamp.nanosec if hasattr(stamp, 'nanosec') else stamp.nsec
    return int(stamp.sec) * 1_000_000_000 + int(nanosec)


@cache
def _typestore(store: Stores) -> Any:
    return get_typestore(store)
