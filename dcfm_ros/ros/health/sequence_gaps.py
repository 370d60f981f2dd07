"""`SequenceGaps`: what the middleware lost."""

from __future__ import annotations


class SequenceGaps:
    """Counts frames that the middleware lost, from a publisher's sequence numbers (from 1)."""

    _SETTLED_S = 2.0
    _MAX_FIRST, _MAX_FIRST_OF_NEW = 30, 1000

    def __init__(self) -> None:
        self._last: int | None = None
        self._max_first = 0
        self._settled_s = 0.0
        self._has_received = False

    def listen(self, now: float, known_publishers: int) -> None:
        """Begin, with a new subscription to a topic that has publishers already, or none."""
        self._last, self._max_first, self._has_received = None, 0, False
        self._settled_s = now + self._SETTLED_S if known_publishers else now

    def connect(self, now: float, publishers: int, change: int) -> None:
        """Forget the last number, since publishers came or went.

        A publisher that comes when the node listens already is new: what was sent before its
        first frame arrived was lost too. One that was there before may have sent anything; only
        if its first number is low, it began together with the node.

        Args:
            now: Steady clock, s.
            publishers: How many are connected now.
            change: How many more than before; 0 if one came and one went.
        """
        is_new = publishers == 1 and (change >= 0 or not self._has_received)
        limit = self._MAX_FIRST_OF_NEW if now > self._settled_s else self._MAX_FIRST
        self._last, self._max_first = None, limit if is_new else 0
        self._has_received = False

    def lost_before(self, number: int | None) -> int:
        """How many frames are missing between the last one and this; None: not known."""
        self._has_received = True
        last, self._last = self._last, number
        first_limit, self._max_first = self._max_first, 0
        if number is None:
            return 0
        if last is None and number <= first_limit:
            last = 0
        return max(number - last - 1, 0) if last is not None else 0
