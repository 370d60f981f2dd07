"""Which mask of a bag belongs to which image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.png import mask_to_png, png_to_mask


class StampedLabels:
    """Masks by the stamp that they share with one image, and with no other.

    Drivers that do not stamp leave 0 in every header, and others repeat a stamp: such a stamp does
    not say which mask belongs to which image, so those masks are not used.
    """

    def __init__(self) -> None:
        self._masks: dict[int, bytes] = {}  # as PNG: those of a long bag would not fit into memory
        self._counts: Counter[int] = Counter()
        self._ambiguous: set[int] = set()

    def add(self, stamp_ns: int, mask: NDArray[np.uint8]) -> None:
        """Take a mask, (H, W); the same one twice counts once."""
        data = mask_to_png(mask).tobytes()
        self._counts[stamp_ns] += 1
        if self._masks.setdefault(stamp_ns, data) != data:
            self._ambiguous.add(stamp_ns)

    def see_images(self, stamps_ns: Iterable[int]) -> None:
        """Take the stamps of all images."""
        counts = Counter(stamps_ns)
        self._ambiguous |= {stamp for stamp in self._masks if counts[stamp] > 1}

    def of(self, stamp_ns: int) -> NDArray[np.uint8] | None:
        """The mask of the image with that stamp, (H, W), or None."""
        data = None if stamp_ns in self._ambiguous else self._masks.get(stamp_ns)
        return None if data is None else png_to_mask(data)

    def note(self, topic: str) -> str:
        """What is not used of the topic, in words, or ''."""
        if not self._ambiguous:
            return ''
        count = sum(self._counts[stamp] for stamp in self._ambiguous)
        first = min(self._ambiguous) / 1e9
        return (
            f'{count} of {self._counts.total()} masks on {topic} are not used: several masks or '
            f'images have the same stamp (the first: {first:.3f} s), which decides nothing'
        )


class StampOrder:
    """Counts the images that are not stamped later than the one before."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self.count = 0
        """Images so far."""
        self._num_late = self._first_ns = 0

    def add(self, stamp_ns: int) -> None:
        """Take the next image."""
        self.count += 1
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            self._first_ns = self._first_ns if self._num_late else stamp_ns
            self._num_late += 1
        self._last_ns = stamp_ns

    def note(self, topic: str) -> str:
        """How many there are, in words, or ''."""
        if not self._num_late:
            return ''
        return (
            f'{self._num_late} of {self.count} images on {topic} are not stamped later than the '
            f'one before (the first: {self._first_ns / 1e9:.3f} s); they are taken in the order '
            'of recording'
        )
