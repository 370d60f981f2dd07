"""Finds the messages that belong together by their stamps; no ROS.

Nothing is kept for ever, and what finds no partner is handed back to be counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

A = TypeVar('A')
B = TypeVar('B')


@dataclass
class Outcome(Generic[A, B]):
    """What became of messages when one more came."""

    pairs: list[tuple[A, B]] = field(default_factory=list)
    lone_firsts: list[A] = field(default_factory=list)
    lone_seconds: list[B] = field(default_factory=list)


class StampMatcher(Generic[A, B]):
    """Pairs two streams by stamp: exactly, else with the nearest within a tolerance.

    Each message is used once, and pairs come in the order of their stamps. A second whose stamp no
    first has waits until a first with a later stamp has come: only then it is known which one is
    nearest. When stamps go back, as where a bag starts again, messages from before are given up.

    Args:
        max_difference_ns: Tolerance; 0: equal stamps only. May be changed at any time.
        capacity: How many of each stream may wait; the oldest is given up for a new one.
    """

    def __init__(self, max_difference_ns: int, capacity: int) -> None:
        self.max_difference_ns = max_difference_ns
        self._capacity = capacity
        self._firsts: deque[tuple[int, A]] = deque()
        self._seconds: deque[tuple[int, B]] = deque()
        self._newest_ns: int | None = None  # stamp of the last first, waiting or not

    def add_first(self, stamp_ns: int, item: A) -> Outcome[A, B]:
        """Take a message of the first stream, of which the second one is made."""
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
    """Messages that make one cloud; None where one is not asked for, or has not come yet."""

    stamp_ns: int
    """Of the mask and of what has its stamp, confidence and image."""
    mask: Any
    confidence: Any = None
    image: Any = None
    depth: Any = None


class CloudMatcher:
    """Pairs masks with the other images of the same stamp, and depth images with those.

    Args:
        use_confidence: Whether a mask needs its confidence.
        use_image: Whether a mask needs the camera image that it was made of.
        max_difference_ns: Largest difference between the stamps of depth image and mask.
        capacity: How many messages of each stream may wait.
    """

    def __init__(
        self, *, use_confidence: bool, use_image: bool, max_difference_ns: int, capacity: int
    ) -> None:
        self.lone = {'depth': 0, 'mask': 0, 'confidence': 0, 'image': 0}
        """Messages since the start that found no partner, by stream."""
        self._confidences = StampMatcher[Match, Any](0, capacity) if use_confidence else None
        self._images = StampMatcher[Any, Match](0, capacity) if use_image else None
        self._clouds = StampMatcher[Any, Match](max_difference_ns, capacity)

    @property
    def max_difference_ns(self) -> int:
        """Largest difference between the stamps of depth image and mask; may be changed."""
        return self._clouds.max_difference_ns

    @max_difference_ns.setter
    def max_difference_ns(self, value: int) -> None:
        self._clouds.max_difference_ns = value

    def add_depth(self, stamp_ns: int, depth: Any) -> list[Match]:
        """Take a depth image; returns what is complete now."""
        return self._complete(self._clouds.add_first(stamp_ns, depth))

    def add_mask(self, stamp_ns: int, mask: Any) -> list[Match]:
        """Take a mask; returns what is complete now."""
        match = Match(stamp_ns, mask)
        if self._confidences is None:
            return self._add_labelled(match)
        return self._add_confident(self._confidences.add_first(stamp_ns, match))

    def add_confidence(self, stamp_ns: int, confidence: Any) -> list[Match]:
        """Take a confidence image; returns what is complete now."""
        assert self._confidences is not None
        return self._add_confident(self._confidences.add_second(stamp_ns, confidence))

    def add_image(self, stamp_ns: int, image: Any) -> list[Match]:
        """Take a camera image; returns what is complete now."""
        assert self._images is not None
        return self._add_coloured(self._images.add_first(stamp_ns, image))

    def _add_confident(self, outcome: Outcome[Match, Any]) -> list[Match]:
        self._count(outcome.lone_firsts)
        self.lone['confidence'] += len(outcome.lone_seconds)
        pairs = (match._replace(confidence=other) for match, other in outcome.pairs)
        return [cloud for match in pairs for cloud in self._add_labelled(match)]

    def _add_labelled(self, match: Match) -> list[Match]:
        if self._images is None:
            return self._complete(self._clouds.add_second(match.stamp_ns, match))
        return self._add_coloured(self._images.add_second(match.stamp_ns, match))

    def _add_coloured(self, outcome: Outcome[Any, Match]) -> list[Match]:
        self.lone['image'] += len(outcome.lone_firsts)
        self._count(outcome.lone_seconds)
        matches = [match._replace(image=image) for image, match in outcome.pairs]
        return [
            cloud
            for match in matches
            for cloud in self._complete(self._clouds.add_second(match.stamp_ns, match))
        ]

    def _complete(self, outcome: Outcome[Any, Match]) -> list[Match]:
        self.lone['depth'] += len(outcome.lone_firsts)
        self._count(outcome.lone_seconds)
        return [match._replace(depth=depth) for depth, match in outcome.pairs]

    def _count(self, matches: list[Match]) -> None:
        """Count masks, and what had come with them, as lone."""
        for match in matches:
            self.lone['mask'] += 1
            self.lone['confidence'] += match.confidence is not None
            self.lone['image'] += match.image is not None


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
