"""`LogThrottle`: a complaint once per second instead of once per frame."""

from __future__ import annotations

import math


class LogThrottle:
    """Lets the same complaint through once per period and counts what it holds back."""

    _MAX_KEYS = 100

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._last: dict[str, tuple[float, int]] = {}  # key -> time let through, held back since

    def line(self, complaint: str, now: float) -> str:
        """What to log of a complaint now, at `now` s: '' while it is held back.

        The same complaint about another value (after ', got ') is the same.
        """
        key = complaint.partition(', got ')[0]
        last_s, held_back = self._last.get(key, (-math.inf, 0))
        if now - last_s < self._period_s:
            self._last[key] = (last_s, held_back + 1)
            return ''
        if len(self._last) >= self._MAX_KEYS:
            self._last.clear()
        self._last[key] = (now, 0)
        more = f' ({held_back} more like it were not logged)' if held_back else ''
        return complaint + more
