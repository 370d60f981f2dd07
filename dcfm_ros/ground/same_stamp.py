"""`SameStamp`: joins what two topics say of one image; no ROS."""

from __future__ import annotations

from typing import Any

_FIRST, _SECOND = 0, 1


class SameStamp:
    """Joins two streams by equal stamps; a message waits for its partner.

    Messages of a stream come in order, but a bag may start over. Whose partner a stamp of 0 means,
    or one that comes twice, is not known: all messages that have it are given up.

    Args:
        capacity: Number of each stream that may wait; the oldest is given up for a new one.
    """

    def __init__(self, capacity: int) -> None:
        self.lone_firsts = 0
        """Messages of the first stream since the start that found no partner."""
        self._capacity = capacity
        self._waiting: tuple[dict[int, Any], dict[int, Any]] = {}, {}  # in the order of arrival
        self._newest: list[int | None] = [None, None]

    def add_first(self, stamp_ns: int, item: Any) -> tuple[Any, Any] | None:
        """Take a message of the first stream; returns it with its partner if that has come."""
        if not self._is_clear(_FIRST, stamp_ns):
            self.lone_firsts += 1
            return None
        if stamp_ns in self._waiting[_SECOND]:
            return item, self._waiting[_SECOND].pop(stamp_ns)
        self._wait(_FIRST, stamp_ns, item)
        return None

    def add_second(self, stamp_ns: int, item: Any) -> tuple[Any, Any] | None:
        """Take a message of the second stream; returns its partner and it if that has come."""
        if not self._is_clear(_SECOND, stamp_ns):
            return None
        if stamp_ns in self._waiting[_FIRST]:
            return self._waiting[_FIRST].pop(stamp_ns), item
        self._wait(_SECOND, stamp_ns, item)
        return None

    def _is_clear(self, stream: int, stamp_ns: int) -> bool:
        """Whether a stamp tells its message from others; if not, those that wait are given up."""
        is_clear = stamp_ns not in (0, self._newest[stream])
        self._newest[stream] = stamp_ns
        if not is_clear:
            self._give_up(_FIRST, stamp_ns)
            self._give_up(_SECOND, stamp_ns)
        return is_clear

    def _wait(self, stream: int, stamp_ns: int, item: Any) -> None:
        waiting = self._waiting[stream]
        self._give_up(stream, stamp_ns)  # of the bag's last round
        if len(waiting) >= self._capacity:
            self._give_up(stream, next(iter(waiting)))
        waiting[stamp_ns] = item

    def _give_up(self, stream: int, stamp_ns: int) -> None:
        if self._waiting[stream].pop(stamp_ns, None) is not None:
            self.lone_firsts += stream == _FIRST
