"""`Standstill`: did a stream go on after the process stood still?"""

from __future__ import annotations


class Standstill:
    """Watches the arrivals of a process that may be stopped, or get no CPU, for a while.

    A reliable subscription of Fast DDS (seen with 2.14) may stay deaf for good afterwards; mostly,
    a new one receives. Times are seconds of a steady clock, given by the caller.
    """

    _AT_LEAST_S = 1.0
    """From one look to the next. Subscriptions went deaf after 1.5 s and more, not after 1.0 s."""
    _BACKLOG_S = 0.25
    """What comes so soon after it had been waiting, and says nothing about what follows."""
    _PATIENCE_S = 1.0, 10.0
    """Until nothing has come for too long; the first time, and the longest: who is silent then
    has nothing to say, or cannot be heard by a new subscription either."""

    def __init__(self, now: float) -> None:
        self._looked_s = self._received_s = now
        self._begun_s: float | None = None
        self._backlog_s = 0.0
        self._patience_s = 0.0

    def received(self, now: float) -> None:
        """Note a message."""
        self._received_s = now

    def is_silent_after(self, now: float) -> bool:
        """Look, at least twice per second: has nothing come since a standstill?

        It is said again, after twice the time, if still nothing comes: four times in all.
        """
        passed_s, self._looked_s = now - self._looked_s, now
        shortest_s, longest_s = self._PATIENCE_S
        if passed_s >= self._AT_LEAST_S:
            self._begun_s, self._patience_s = now, shortest_s
            self._backlog_s = self._BACKLOG_S
        if self._begun_s is None or now - self._begun_s < self._patience_s:
            return False
        is_silent = self._received_s < self._begun_s + self._backlog_s
        self._backlog_s = 0.0  # nothing waits for a new subscription
        self._patience_s *= 2
        self._begun_s = now if is_silent and self._patience_s <= longest_s else None
        return is_silent
