"""Which stamps tell the messages of a stream apart; no ROS."""

from __future__ import annotations

from collections import deque
from enum import Enum

MAX_REORDERING_NS = 500_000_000
"""Transport changes the order of messages by less than this; by more, the stream starts over."""


class Stamp(Enum):
    """What a stamp is, beside those of its stream before."""

    GOOD = 'is good'
    ZERO = 'is 0: it was never set'
    REPEATED = 'is that of a message before'
    RESTARTED = 'has gone back, as when a bag starts over'


class StampGate:
    """Judges the stamps of one stream, in the order of their arrival.

    Messages may arrive out of order. One whose stamp is 0, or that of another one, cannot be told
    apart from others by it.

    Args:
        capacity: Number of stamps to remember.
    """

    def __init__(self, capacity: int) -> None:
        self._recent: deque[int] = deque(maxlen=capacity)

    def judge(self, stamp_ns: int) -> Stamp:
        """What the next stamp is; from a restart on, those before are forgotten."""
        if stamp_ns == 0:
            return Stamp.ZERO
        newest_ns = max(self._recent, default=stamp_ns)
        if stamp_ns < newest_ns - MAX_REORDERING_NS:
            self._recent.clear()
            self._recent.append(stamp_ns)
            return Stamp.RESTARTED
        if stamp_ns in self._recent:
            return Stamp.REPEATED
        self._recent.append(stamp_ns)
        return Stamp.GOOD
