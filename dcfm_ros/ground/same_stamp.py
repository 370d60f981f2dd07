"""`SameStamp`: joins what two topics say of one image; no ROS."""

from __future__ import annotations

from typing import Any


class SameStamp:
    """Joins two streams by equal stamps; a message waits for its partner.

    Order does not matter, nor does a bag that starts over. A stamp that comes twice in a stream
    stands for the newer message.

    Args:
        capacity: Number of each stream that may wait; the oldest is given up for a new one.
    """

    def __init__(self, capacity: int) -> None:
        self.lone_firsts = 0
        """Messages of the first stream since the start that found no partner."""
        self._capacity = capacity
        self._firsts: dict[int, Any] = {}  # by stamp, in the order of arrival
        self._seconds: dict[int, Any] = {}

    def add_first(self, stamp_ns: int, item: Any) -> tuple[Any, Any] | None:
        """Take a message of the first stream; returns it with its partner if that has come."""
        if stamp_ns in self._seconds:
            return item, self._seconds.pop(stamp_ns)
        self.lone_firsts += _wait(self._firsts, stamp_ns, item, self._capacity)
        return None

    def add_second(self, stamp_ns: int, item: Any) -> tuple[Any, Any] | None:
        """Take a message of the second stream; returns its partner and it if that has come."""
        if stamp_ns in self._firsts:
            return self._firsts.pop(stamp_ns), item
        _wait(self._seconds, stamp_ns, item, self._capacity)
        return None


def _wait(waiting: dict[int, Any], stamp_ns: int, item: Any, capacity: int) -> int:
    """Let a message wait; returns how many were given up for it."""
    before = len(waiting)
    waiting.pop(stamp_ns, None)
    while len(waiting) >= capacity:
        waiting.pop(next(iter(waiting)))
    waiting[stamp_ns] = item
    return before + 1 - len(waiting)
