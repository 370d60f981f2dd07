"""Messages of a rosbag: what those of a topic are, and which are missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from rosbags.typesys import Stores, get_typestore

from dcfm_ros.recordings import zstd

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


@dataclass(kw_only=True)
class BagLosses:
    """What a bag should hold and does not; complete once all of its frames were read."""

    notes: list[str] = field(default_factory=list)
    """Files that are missing or end early, messages that metadata.yaml promises."""
    remarks: list[str] = field(default_factory=list)
    """What is odd about messages that are all there."""
    num_undecodable: int = 0
    """Messages that are not valid images."""
    first_undecodable: str = ''
    """What is wrong with the first of them."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost; there may be remarks."""
        return not self.notes and not self.num_undecodable

    def note(self, line: str) -> None:
        """Add a loss, once; '' is none."""
        if line and line not in self.notes:
            self.notes.append(line)

    def remark(self, line: str) -> None:
        """Add a remark, once; '' is none."""
        if line and line not in self.remarks:
            self.remarks.append(line)

    def add_undecodable(self, topic: str, time_ns: int, error: Exception) -> None:
        """Count a message that was recorded at `time_ns`."""
        self.num_undecodable += 1
        if not self.first_undecodable:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            self.first_undecodable = f'{topic} at {time_ns / 1e9:.3f} s: {reason}'

    def lines(self) -> list[str]:
        """All losses and remarks in words; empty if there is nothing to tell."""
        lines = list(self.notes)
        if self.num_undecodable:
            first = f'the first: {self.first_undecodable}'
            lines.append(f'{self.num_undecodable} messages cannot be decoded, {first}')
        return lines + self.remarks


def stamp_of(content: Any) -> int:
    """Header stamp of a message, ns."""
    stamp = content.header.stamp
    # ROS 1 says nsec.
    nanosec = stamp.nanosec if hasattr(stamp, 'nanosec') else stamp.nsec
    return int(stamp.sec) * 1_000_000_000 + int(nanosec)


@cache
def _typestore(store: Stores) -> Any:
    return get_typestore(store)
