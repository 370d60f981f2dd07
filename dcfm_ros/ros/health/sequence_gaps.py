"""`SequenceGaps`: frames that the middleware lost."""

from __future__ import annotations


class SequenceGaps:
    """Counts lost frames by a publisher's sequence numbers, which begin at 1."""

    _SETTLED_S = 2.0
    _MAX_FIRST, _MAX_FIRST_OF_NEW = 30, 1000

    def __init__(self) -> None:
        self._last: int | None = None
        self._former: int | None = None
        """Number heard last before the only publisher went."""
        self._max_first = 0
        self._settled_s = 0.0
        self._has_received = False

    def listen(self, now: float, known_publishers: int) -> None:
        """Begin with a new subscription to a topic with `known_publishers`."""
        self._last, self._max_first, self._has_received = None, 0, False
        self._former = None
        self._settled_s = now + self._SETTLED_S if known_publishers else now

    def connect(self, now: float, publishers: int, change: int, *, is_back: bool = False) -> None:
        """Forget the last number, since publishers came or went.

        A publisher that comes after the subscription is new: what it sent before its first frame
        arrived was lost too. One that was there before may have sent any number of frames; only a
        low first number shows that it began together with the node.

        Args:
            now: Steady clock, s.
            publishers: Number connected now.
            change: Difference to before; 0 if one came and one went.
            is_back: Whether the only publisher is the one that there was before, which was away
                for a while, as when its machine was suspended: it counts on.
        """
        if is_back:
            self._last = self._former if self._last is None else self._last
            self._max_first = 0
            return
        if not publishers and self._last is not None:
            self._former = self._last
        is_new = publishers == 1 and (change >= 0 or not self._has_received)
        limit = self._MAX_FIRST_OF_NEW if now > self._settled_s else self._MAX_FIRST
        self._last, self._max_first = None, limit if is_new else 0
        self._has_received = False

    def lost_before(self, number: int | None) -> int:
        """Number of frames missing before this one; `number` None: unknown."""
        self._has_received = True
        last, self._last = self._last, number
        first_limit, self._max_first = self._max_first, 0
        if number is None:
            return 0
        if last is None and number <= first_limit:
            last = 0
        return max(number - last - 1, 0) if last is not None else 0
