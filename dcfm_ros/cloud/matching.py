"""Finds the messages that belong together by their stamps; no ROS.

Memory is bounded, and messages without a partner are counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple


class StampMatcher:
    """Pairs two streams by stamp: exactly, else with the nearest within a tolerance.

    Each message is used once, and pairs are in the order of their stamps. A second without a first
    of its stamp waits until a first with a later stamp has arrived: only then is it known which is
    nearest. When stamps go back, as when a bag starts over, earlier messages are given up.

    Args:
        max_difference_ns: Tolerance; 0: equal stamps only. May be changed at any time.
        capacity: Number of each stream that may wait; the oldest is given up for a new one.
    """

    def __init__(self, max_difference_ns: int, capacity: int) -> None:
        self.max_difference_ns = max_difference_ns
        self.lone_firsts = self.lone_seconds = 0
        """Messages since the start that found no partner."""
        self._capacity = capacity
        self._firsts: deque[tuple[int, Any]] = deque()
        self._seconds: deque[tuple[int, Any]] = deque()
        self._newest_ns: int | None = None  # stamp of the last first, waiting or not

    def add_first(self, stamp_ns: int, item: Any) -> list[tuple[Any, Any]]:
        """Take a message of the first stream, from which the second is made; returns pairs."""
        if self._newest_ns is not None and stamp_ns <= self._newest_ns:
            self.lone_firsts += _drop_from(self._firsts, stamp_ns)
            self.lone_seconds += _drop_from(self._seconds, stamp_ns + 1)
        self._newest_ns = stamp_ns
        self._firsts.append((stamp_ns, item))
        return self._match()

    def add_second(self, stamp_ns: int, item: Any) -> list[tuple[Any, Any]]:
        """Take a message of the second stream; returns pairs."""
        self.lone_seconds += _drop_from(self._seconds, stamp_ns)
        self._seconds.append((stamp_ns, item))
        return self._match()

    def _match(self) -> list[tuple[Any, Any]]:
        pairs = []
        while self._seconds:
            stamp_ns, second = self._seconds[0]
            self._drop_firsts_before(stamp_ns - self.max_difference_ns)
            is_decided = bool(self._firsts) and self._firsts[-1][0] >= stamp_ns
            if not is_decided:
                break
            self._seconds.popleft()
            nearest_ns = min((s for s, _ in self._firsts), key=lambda s: abs(s - stamp_ns))
            if abs(nearest_ns - stamp_ns) > self.max_difference_ns:
                self.lone_seconds += 1
                continue
            self._drop_firsts_before(nearest_ns)
            pairs.append((self._firsts.popleft()[1], second))
        if len(self._firsts) > self._capacity:
            self._firsts.popleft()
            self.lone_firsts += 1
        if len(self._seconds) > self._capacity:
            self._seconds.popleft()
            self.lone_seconds += 1
        return pairs

    def _drop_firsts_before(self, stamp_ns: int) -> None:
        while self._firsts and self._firsts[0][0] < stamp_ns:
            self._firsts.popleft()
            self.lone_firsts += 1


class Match(NamedTuple):
    """The messages of one cloud; None for what is not required or has not arrived."""

    stamp_ns: int
    """Of the mask, and of confidence and image."""
    mask: Any = None
    confidence: Any = None
    image: Any = None
    depth: Any = None


class CloudMatcher:
    """Joins a mask with the other images of its stamp, and the depth image with both.

    Args:
        companions: What a mask needs of its own stamp: 'confidence', 'image', both or nothing.
        max_difference_ns: Largest difference between the stamps of depth image and mask.
        capacity: Number of messages of each stream that may wait.
    """

    def __init__(
        self, companions: Collection[str], *, max_difference_ns: int, capacity: int
    ) -> None:
        self.pairs = StampMatcher(max_difference_ns, capacity)
        """Of depth images and what else a cloud needs."""
        self._needed = {'mask', *companions}
        self._capacity = capacity
        self._waiting: dict[int, dict[str, Any]] = {}  # by stamp, then stream
        self._newest: dict[str, int] = {}
        self._given_up: Counter[str] = Counter()

    @property
    def lone(self) -> dict[str, int]:
        """Messages since the start that found no partner, by stream."""
        lone = {name: self._given_up[name] for name in ('mask', 'confidence', 'image')}
        for name in self._needed:
            lone[name] += self.pairs.lone_seconds
        return {'depth': self.pairs.lone_firsts, **lone}

    def add(self, stream: str, stamp_ns: int, message: Any) -> list[Match]:
        """Take a message of 'depth', 'mask', 'confidence' or 'image'; returns what is complete."""
        if stream == 'depth':
            pairs = self.pairs.add_first(stamp_ns, message)
            return [match._replace(depth=depth) for depth, match in pairs]
        if stamp_ns < self._newest.get(stream, stamp_ns):  # a bag starts over
            self._give_up(s for s, parts in self._waiting.items() if stream in parts)
        self._newest[stream] = stamp_ns
        parts = self._waiting.setdefault(stamp_ns, {})
        self._given_up[stream] += stream in parts
        parts[stream] = message
        if parts.keys() == self._needed:
            match = Match(stamp_ns, **self._waiting.pop(stamp_ns))
            self._give_up(s for s in self._waiting if s < stamp_ns)
            pairs = self.pairs.add_second(stamp_ns, match)
            return [match._replace(depth=depth) for depth, match in pairs]
        with_stream = [s for s, parts in self._waiting.items() if stream in parts]
        self._give_up(with_stream[: -self._capacity])
        return []

    def _give_up(self, stamps: Iterable[int]) -> None:
        for stamp_ns in list(stamps):
            self._given_up.update(self._waiting.pop(stamp_ns).keys())


def _drop_from(waiting: deque[tuple[int, Any]], stamp_ns: int) -> int:
    """Give up what has this stamp or a later one; returns how many there were."""
    before = len(waiting)
    while waiting and waiting[-1][0] >= stamp_ns:
        waiting.pop()
    return before - len(waiting)
