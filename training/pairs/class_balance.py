"""Pairs that show rare classes more often (rare class sampling of DAFormer, Hoyer et al. 2022).

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import os

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.pairs.pair_sources import Pair, PairSource

TEMPERATURE = 0.01
"""T of P(c) ~ exp((1 - f_c) / T), f_c the class' share of the labelled pixels; DAFormer's. Classes
with less than T of the pixels are drawn about equally often, those with more hardly ever."""
MIN_PIXELS = 50
"""A frame with this many pixels of a class holds it. Fewer are a spot of 7x7, at half the size no
more than one cell of the feature grid."""


class BalancedPairs(PairSource):
    """A source of which some pairs are drawn for a class they hold, the rare ones most often."""

    def __init__(self, source: PairSource, share: float, num_classes: int = UNLABELLED) -> None:
        """Read every label once.

        Args:
            source: Where the pairs come from.
            share: Of the pairs that are drawn for a class, in [0, 1]; the others are drawn as
                without this.
            num_classes: Ids from here on stand for sets of classes: a pixel of 'car or bicyclist'
                shows neither for sure, so that no pair is drawn for it.

        Raises:
            ValueError: If no label has `MIN_PIXELS` of any class.
        """
        self._source = source
        self._share = share
        counts = np.stack(list(_count_pixels(source)))[:, :num_classes]
        frequency = counts.sum(axis=0) / max(counts.sum(), 1)
        self._classes = np.flatnonzero((counts >= MIN_PIXELS).any(axis=0))
        if not len(self._classes):
            msg = f'hold a class on at least {MIN_PIXELS} pixels of a frame'
            raise ValueError(f'a source with `balance` must {msg}, got none')
        weights = np.exp((frequency.min() - frequency[self._classes]) / TEMPERATURE)
        self._probability = weights / weights.sum()
        self._frames = [np.flatnonzero(counts[:, c] >= MIN_PIXELS) for c in self._classes]

    def __len__(self) -> int:
        return len(self._source)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """That of the source."""
        return self._source.pair(index, rng, gap)

    def label(self, index: int) -> NDArray[np.uint8]:
        """That of the source."""
        return self._source.label(index)

    def draw(self, rng: np.random.Generator) -> tuple[Pair, int | None]:
        """A pair of any frame, or one drawn for a class together with that class."""
        if rng.random() >= self._share:
            return self._source.draw(rng)
        chosen = int(rng.choice(len(self._classes), p=self._probability))
        frame = int(rng.choice(self._frames[chosen]))
        return self._source.pair(frame, rng), int(self._classes[chosen])


def _count_pixels(source: PairSource) -> Iterator[NDArray[np.int64]]:
    """Pixels of every class in each label, (255,)."""

    def count(index: int) -> NDArray[np.int64]:
        return np.bincount(source.label(index).ravel(), minlength=256)[:UNLABELLED]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(count, range(len(source)))
