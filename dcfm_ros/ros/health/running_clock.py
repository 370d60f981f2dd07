"""`RunningClock`: does the node's clock run, or does it stand as while a bag is paused?"""

from __future__ import annotations


class RunningClock:
    """Watches simulated time, which may stop, jump back and run at any rate."""

    _STANDS_AFTER_S = 0.5
    """Longer than publishers of /clock leave between two messages."""

    def __init__(self, now: float) -> None:
        """Begin at `now`, steady clock, s."""
        self._clock_ns = 0
        self._moved_s = self._started_s = now

    def running_s(self, clock_ns: int, now: float) -> float:
        """For how long the clock has been running, s; 0 while it stands.

        A clock that has not begun counts as running: simulated time that never comes is no pause.

        Args:
            clock_ns: What the node's clock says.
            now: Steady clock, s.
        """
        if clock_ns != self._clock_ns or clock_ns == 0:
            self._clock_ns, self._moved_s = clock_ns, now
        elif now - self._moved_s >= self._STANDS_AFTER_S:
            self._started_s = now
        return now - self._started_s
