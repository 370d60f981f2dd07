"""What is done to a file: cuts at every 997th byte, and flips of one bit at each of 2,000."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CUT_STEP = 997
FLIPS = 2000
_EDGE = 8192
"""Bytes at either end of a file, where headers and indexes are."""


class Damage(NamedTuple):
    """What one case does to one file."""

    kind: str
    """Of file, see `file_kinds.KINDS`."""
    how: str
    """'cut': nothing is left from `place` on; 'flip': a bit of the byte there; 'whole': `place` is
    the number of a file of `file_hostile` that takes the place of this one."""
    place: int
    bit: int = 0

    def apply(self, data: bytes) -> bytes:
        """A damaged copy."""
        if self.how == 'cut':
            return data[: self.place]
        damaged = bytearray(data)
        damaged[self.place] ^= 1 << self.bit
        return bytes(damaged)


def damages(kind: str, size: int, seed: int) -> list[Damage]:
    """All cuts and flips of a file of `size` bytes.

    Half of the flips lie at even distances, a quarter at random within 8 KiB of either end.
    """
    random = np.random.default_rng([seed, size])
    edge = min(_EDGE, size)
    places = np.concatenate(
        [
            np.linspace(0, size, FLIPS // 2, endpoint=False).astype(int),
            random.integers(0, edge, FLIPS // 4),
            size - 1 - random.integers(0, edge, FLIPS // 4),
        ]
    )
    bits = random.integers(0, 8, FLIPS)
    flips = zip(places.tolist(), bits.tolist(), strict=True)
    return [
        *(Damage(kind, 'cut', place) for place in range(0, size, CUT_STEP)),
        *(Damage(kind, 'flip', place, bit) for place, bit in flips),
    ]
