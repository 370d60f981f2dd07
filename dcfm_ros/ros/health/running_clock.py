"""`RunningClock`: is the node's clock running, or stopped, as while a bag is paused?"""

from __future__ import annotations


class RunningClock:
    """Watches simulated time, which may stop, jump back and run at any rate."""

    _STOPPED_AFTER_S = 0.5
    """Longer than the interval of any publisher of /clock."""

    def __init__(self, now: float) -> None:
        self._clock_ns = 0
        self._moved_s = self._started_s = now

    def running_s(self, clock_ns: int, now: float) -> float:
        """For how long the clock has been running, s; 0 while it is stopped.

        A clock that has not begun counts as running: missing simulated time is not a pause. `now`
        is in s of a steady clock.
        """
        if clock_ns != self._clock_ns or clock_ns == 0:
            self._clock_ns, self._moved_s = clock_ns, now
        elif now - self._moved_s >= self._STOPPED_AFTER_S:
            self._started_s = now
        return now - self._started_s
