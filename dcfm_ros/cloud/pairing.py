"""Pairs the messages of two streams by their stamps; no ROS."""

from __future__ import annotations

from bisect import insort
from typing import Any, NamedTuple

from dcfm_ros.cloud.stamps import MAX_REORDERING_NS


class _Waiting(NamedTuple):
    stamp_ns: int
    item: Any


_SPOILT = object()
"""In place of an item whose stamp another message has, too."""


class StampMatcher:
    """Pairs two streams by stamp: exactly, else with the nearest within a tolerance.

    Each message is used once, and pairs are in the order of their stamps; messages may come out of
    order. A second without a first of its stamp waits until a first with a later stamp has
    arrived: only then is it known which is nearest. All stamps of a stream must differ.

    Args:
        max_difference_ns: Tolerance; 0: equal stamps only. May be changed at any time.
        capacity: Number of each stream that may wait; the oldest is given up for a new one.
    """

    def __init__(self, max_difference_ns: int, capacity: int) -> None:
        self.max_difference_ns = max_difference_ns
        self.lone_firsts = self.lone_seconds = 0
        """Messages since the start that found no partner."""
        self._capacity = capacity
        self._firsts: list[_Waiting] = []  # both in the order of stamps
        self._seconds: list[_Waiting] = []
        self._newest_ns = -1  # latest stamp of the firsts, waiting or not
        self._last_pair = (-1, -1)

    def add_first(self, stamp_ns: int, item: Any) -> list[tuple[Any, Any]]:
        """Take a message of the first stream, from which the second is made; returns pairs."""
        self._newest_ns = max(self._newest_ns, stamp_ns)
        if stamp_ns <= self._last_pair[0]:
            self.lone_firsts += 1
            return []
        insort(self._firsts, _Waiting(stamp_ns, item), key=_stamp_of)
        return self._match()

    def add_second(self, stamp_ns: int, item: Any) -> list[tuple[Any, Any]]:
        """Take a message of the second stream; returns pairs."""
        if stamp_ns <= self._last_pair[1]:
            self.lone_seconds += 1
            return []
        insort(self._seconds, _Waiting(stamp_ns, item), key=_stamp_of)
        return self._match()

    def restart_firsts(self, stamp_ns: int) -> None:
        """The firsts go on from an earlier stamp; gives up what waits from before."""
        self.lone_firsts += _drop_from(self._firsts, stamp_ns)
        # The seconds may have gone back already, and be ahead of the firsts.
        self.lone_seconds += _drop_from(self._seconds, stamp_ns + MAX_REORDERING_NS)
        self._newest_ns, self._last_pair = -1, (-1, -1)

    def restart_seconds(self, stamp_ns: int) -> None:
        """The seconds go on from an earlier stamp; gives up those that wait from before."""
        self.lone_seconds += _drop_from(self._seconds, stamp_ns)
        # If the firsts have not gone back yet, the newest of them decides nothing any more.
        self._newest_ns, self._last_pair = -1, (-1, -1)

    def spoil_first(self, stamp_ns: int) -> bool:
        """Keep a first that waits from being paired; so is a second of its stamp, if one comes.

        Returns whether there was one.
        """
        for index, (waiting_ns, item) in enumerate(self._firsts):
            if waiting_ns == stamp_ns and item is not _SPOILT:
                self._firsts[index] = _Waiting(stamp_ns, _SPOILT)
                return True
        return False

    def spoil_second(self, stamp_ns: int) -> int:
        """Keep a second, waiting or not, from being paired, and so the first of its stamp.

        Returns how many of that stamp were waiting.
        """
        waiting = [second for second in self._seconds if second.stamp_ns == stamp_ns]
        self._seconds = [second for second in self._seconds if second.stamp_ns != stamp_ns]
        if stamp_ns > self._last_pair[1]:
            insort(self._seconds, _Waiting(stamp_ns, _SPOILT), key=_stamp_of)
            self._give_up_oldest()
        return sum(second.item is not _SPOILT for second in waiting)

    def _match(self) -> list[tuple[Any, Any]]:
        pairs = []
        while self._seconds:
            stamp_ns, second = self._seconds[0]
            nearest = self._nearest(stamp_ns)
            has_equal = nearest is not None and nearest.stamp_ns == stamp_ns
            if not has_equal and self._newest_ns < stamp_ns:
                break
            self._seconds.pop(0)
            if second is _SPOILT and nearest is not None and has_equal:
                self._firsts.remove(nearest)
                self.lone_firsts += nearest.item is not _SPOILT
            if nearest is None or _SPOILT in (nearest.item, second):
                self.lone_seconds += second is not _SPOILT
                continue
            self._drop_firsts_before(nearest.stamp_ns)
            self._firsts.pop(0)
            self._last_pair = (nearest.stamp_ns, stamp_ns)
            pairs.append((nearest.item, second))
        self._give_up_oldest()
        return pairs

    def _give_up_oldest(self) -> None:
        """Keep to the capacity."""
        while len(self._firsts) > self._capacity:
            self.lone_firsts += self._firsts.pop(0).item is not _SPOILT
        while len(self._seconds) > self._capacity:
            self.lone_seconds += self._seconds.pop(0).item is not _SPOILT

    def _nearest(self, stamp_ns: int) -> _Waiting | None:
        """The first nearest to the earliest second, unless another second is nearer to it."""
        if not self._firsts:
            return None
        nearest = min(self._firsts, key=lambda first: abs(first.stamp_ns - stamp_ns))
        difference_ns = abs(nearest.stamp_ns - stamp_ns)
        is_taken = len(self._seconds) > 1 and (
            abs(nearest.stamp_ns - self._seconds[1].stamp_ns) < difference_ns
        )
        return None if difference_ns > self.max_difference_ns or is_taken else nearest

    def _drop_firsts_before(self, stamp_ns: int) -> None:
        while self._firsts and self._firsts[0].stamp_ns < stamp_ns:
            self.lone_firsts += self._firsts.pop(0).item is not _SPOILT


def _stamp_of(waiting: _Waiting) -> int:
    return waiting.stamp_ns


def _drop_from(waiting: list[_Waiting], stamp_ns: int) -> int:
    """Give up what has this stamp or a later one; returns how many there were, not spoilt."""
    dropped = [one for one in waiting if one.stamp_ns >= stamp_ns]
    waiting[:] = [one for one in waiting if one.stamp_ns < stamp_ns]
    return sum(one.item is not _SPOILT for one in dropped)
