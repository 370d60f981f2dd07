"""Finds the messages that belong together by their stamps; no ROS.

Memory is bounded, and messages without a partner are counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from dcfm_ros.cloud.pairing import StampMatcher
from dcfm_ros.cloud.stamps import Stamp, StampGate


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

    Messages whose stamps are 0, or occur twice in their stream, are given up: which ones belong
    together is not known.

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
        self.bad_stamps: Counter[str] = Counter()
        """Messages since the start that were given up for their stamps, by stream."""
        self.complaints: dict[str, str] = {}
        """What is wrong with the newest stamp, by stream; only of those where something is."""
        self._needed = {'mask', *companions}
        self._capacity = capacity
        self._gates = {name: StampGate(capacity) for name in ('depth', *self._needed)}
        self._waiting: dict[int, dict[str, Any]] = {}  # by stamp, then stream
        self._spoilt: deque[int] = deque(maxlen=capacity)  # stamps of masks and companions
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
        verdict = self._gates[stream].judge(stamp_ns)
        if verdict is Stamp.GOOD and stream in self._waiting.get(stamp_ns, ()):
            verdict = Stamp.REPEATED  # the gate has forgotten the first one
        self.complaints.pop(stream, None)
        if verdict in (Stamp.ZERO, Stamp.REPEATED):
            self.complaints[stream] = verdict.value
            self.bad_stamps[stream] += 1
            self._spoil(stream, stamp_ns)
            return []
        if verdict is Stamp.RESTARTED:
            self._restart(stream, stamp_ns)
        if stream == 'depth':
            pairs = self.pairs.add_first(stamp_ns, message)
        else:
            pairs = self._join(stream, stamp_ns, message)
        return [match._replace(depth=depth) for depth, match in pairs]

    def _join(self, stream: str, stamp_ns: int, message: Any) -> list[tuple[Any, Any]]:
        """Add a mask or a companion to the others of its stamp; returns pairs with depth."""
        if stamp_ns in self._spoilt:
            self.bad_stamps[stream] += 1
            return []
        parts = self._waiting.setdefault(stamp_ns, {})
        parts[stream] = message
        if parts.keys() == self._needed:
            match = Match(stamp_ns, **self._waiting.pop(stamp_ns))
            self._give_up(s for s in self._waiting if s < stamp_ns)
            return self.pairs.add_second(stamp_ns, match)
        with_stream = sorted(s for s, parts in self._waiting.items() if stream in parts)
        self._give_up(with_stream[: -self._capacity])
        return []

    def _spoil(self, stream: str, stamp_ns: int) -> None:
        """Give up all that waits and belongs to the same stamp."""
        if stream == 'depth':
            self.bad_stamps[stream] += self.pairs.spoil_first(stamp_ns)
            return
        self._spoilt.append(stamp_ns)
        self.bad_stamps.update(self._waiting.pop(stamp_ns, {}).keys())
        for _ in range(self.pairs.spoil_second(stamp_ns)):
            self.bad_stamps.update(self._needed)

    def _restart(self, stream: str, stamp_ns: int) -> None:
        if stream == 'depth':
            self.pairs.restart_firsts(stamp_ns)
            return
        self._spoilt.clear()
        self._give_up(s for s, parts in self._waiting.items() if stream in parts)
        if stream == 'mask':
            self.pairs.restart_seconds(stamp_ns)

    def _give_up(self, stamps: Iterable[int]) -> None:
        for stamp_ns in list(stamps):
            self._given_up.update(self._waiting.pop(stamp_ns).keys())
