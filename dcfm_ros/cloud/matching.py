"""Finds the messages that belong together by their stamps; no ROS.

Memory is bounded, and messages without a partner are handed back to be counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

A = TypeVar('A')
B = TypeVar('B')


@dataclass
class Outcome(Generic[A, B]):
    """What becomes of messages when one more arrives."""

    pairs: list[tuple[A, B]] = field(default_factory=list)
    lone_firsts: list[A] = field(default_factory=list)
    lone_seconds: list[B] = field(default_factory=list)


class StampMatcher(Generic[A, B]):
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
        self._capacity = capacity
        self._firsts: deque[tuple[int, A]] = deque()
        self._seconds: deque[tuple[int, B]] = deque()
        self._newest_ns: int | None = None  # stamp of the last first, waiting or not

    def add_first(self, stamp_ns: int, item: A) -> Outcome[A, B]:
        """Take a message of the first stream, from which the second is made."""
        outcome: Outcome[A, B] = Outcome()
        if self._newest_ns is not None and stamp_ns <= self._newest_ns:
            outcome.lone_firsts += _remove_from(self._firsts, stamp_ns)
            outcome.lone_seconds += _remove_from(self._seconds, stamp_ns + 1)
        self._newest_ns = stamp_ns
        self._firsts.append((stamp_ns, item))
        return self._match(outcome)

    def add_second(self, stamp_ns: int, item: B) -> Outcome[A, B]:
        """Take a message of the second stream."""
        outcome: Outcome[A, B] = Outcome()
        outcome.lone_seconds += _remove_from(self._seconds, stamp_ns)
        self._seconds.append((stamp_ns, item))
        return self._match(outcome)

    def _match(self, outcome: Outcome[A, B]) -> Outcome[A, B]:
        while self._seconds:
            stamp_ns, second = self._seconds[0]
            oldest_ns = stamp_ns - self.max_difference_ns
            outcome.lone_firsts += _remove_before(self._firsts, oldest_ns)
            is_decided = bool(self._firsts) and self._firsts[-1][0] >= stamp_ns
            if not is_decided:
                break
            self._seconds.popleft()
            nearest_ns = min((s for s, _ in self._firsts), key=lambda s: abs(s - stamp_ns))
            if abs(nearest_ns - stamp_ns) > self.max_difference_ns:
                outcome.lone_seconds.append(second)
                continue
            outcome.lone_firsts += _remove_before(self._firsts, nearest_ns)
            outcome.pairs.append((self._firsts.popleft()[1], second))
        if len(self._firsts) > self._capacity:
            outcome.lone_firsts.append(self._firsts.popleft()[1])
        if len(self._seconds) > self._capacity:
            outcome.lone_seconds.append(self._seconds.popleft()[1])
        return outcome


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
        self.lone = {'depth': 0, 'mask': 0, 'confidence': 0, 'image': 0}
        """Messages since the start that found no partner, by stream."""
        self._needed = {'mask', *companions}
        self._capacity = capacity
        self._waiting: dict[int, dict[str, Any]] = {}  # by stamp, then stream
        self._newest: dict[str, int] = {}
        self._clouds = StampMatcher[Any, Match](max_difference_ns, capacity)

    @property
    def max_difference_ns(self) -> int:
        """Largest difference between the stamps of depth image and mask; may be changed."""
        return self._clouds.max_difference_ns

    @max_difference_ns.setter
    def max_difference_ns(self, value: int) -> None:
        self._clouds.max_difference_ns = value

    def add(self, stream: str, stamp_ns: int, message: Any) -> list[Match]:
        """Take a message of 'depth', 'mask', 'confidence' or 'image'; returns what is complete."""
        if stream == 'depth':
            return self._complete(self._clouds.add_first(stamp_ns, message))
        if stamp_ns < self._newest.get(stream, stamp_ns):  # a bag starts over
            self._give_up(s for s, parts in self._waiting.items() if stream in parts)
        self._newest[stream] = stamp_ns
        parts = self._waiting.setdefault(stamp_ns, {})
        self.lone[stream] += stream in parts
        parts[stream] = message
        if parts.keys() == self._needed:
            match = Match(stamp_ns, **self._waiting.pop(stamp_ns))
            self._give_up(s for s in self._waiting if s < stamp_ns)
            return self._complete(self._clouds.add_second(stamp_ns, match))
        with_stream = [s for s, parts in self._waiting.items() if stream in parts]
        self._give_up(with_stream[: -self._capacity])
        return []

    def _give_up(self, stamps: Iterable[int]) -> None:
        for stamp_ns in list(stamps):
            self._count_lone(self._waiting.pop(stamp_ns))

    def _complete(self, outcome: Outcome[Any, Match]) -> list[Match]:
        self.lone['depth'] += len(outcome.lone_firsts)
        for _ in outcome.lone_seconds:
            self._count_lone(self._needed)
        return [match._replace(depth=depth) for depth, match in outcome.pairs]

    def _count_lone(self, streams: Iterable[str]) -> None:
        for stream in streams:
            self.lone[stream] += 1


def _remove_before(waiting: deque[tuple[int, A]], stamp_ns: int) -> list[A]:
    removed = []
    while waiting and waiting[0][0] < stamp_ns:
        removed.append(waiting.popleft()[1])
    return removed


def _remove_from(waiting: deque[tuple[int, A]], stamp_ns: int) -> list[A]:
    removed = []
    while waiting and waiting[-1][0] >= stamp_ns:
        removed.append(waiting.pop()[1])
    return removed
