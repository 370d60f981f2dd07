"""`Places`: where the base was at the time of a mask, by odometry; no ROS."""

from __future__ import annotations

from collections import deque

from dcfm_ros.ground.votes import Place

MAX_REORDERING_NS = 500_000_000
"""Transport changes the order of messages by less than this; by more, time starts over."""
_MAX_AGE_NS = 100_000_000


class Places:
    """The newest places of the base, by their stamps."""

    def __init__(self, capacity: int = 500) -> None:
        self._known: deque[tuple[int, Place]] = deque(maxlen=capacity)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, stamp_ns: int, place: Place) -> None:
        """Take a place; one of an earlier time has those before it forgotten, as in a new run."""
        if self._is_earlier(stamp_ns):
            self._known.clear()
        self._known.append((stamp_ns, place))

    def at(self, stamp_ns: int) -> Place | None:
        """The place nearest in time, at most 0.1 s away; None if there is none."""
        near = [(abs(then_ns - stamp_ns), place) for then_ns, place in self._known]
        age_ns, place = min(near, key=lambda entry: entry[0], default=(_MAX_AGE_NS + 1, None))
        return place if age_ns <= _MAX_AGE_NS else None

    def restart(self, stamp_ns: int) -> None:
        """The masks go on from an earlier stamp; forgets the places if they have not yet."""
        if self._is_earlier(stamp_ns):
            self._known.clear()

    def _is_earlier(self, stamp_ns: int) -> bool:
        return bool(self._known) and stamp_ns < self._known[-1][0] - MAX_REORDERING_NS
