"""Batches of pairs for symmetric training: every pair follows from (seed, index) alone.

Shapes: H W image, h w crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler

from dcfm_ros.images.preprocess import shrink
from dcfm_ros.training.pairs.augment import PairAugmentation
from dcfm_ros.training.pairs.pair_mixing import PairMixing
from dcfm_ros.training.pairs.pair_sources import Pair, PairSource

Image = NDArray[np.uint8]


class TrainingPair(NamedTuple):
    """One sample, or a batch of them with B in front."""

    reference: Tensor
    """uint8 RGB, (3, h, w)."""
    labelled: Tensor
    """uint8 RGB, (3, h, w)."""
    label: Tensor
    """uint8 class ids of the labelled frame, (h, w); 255 = ignore."""


class PairDataset(Dataset[TrainingPair]):
    """Augmented pairs of all sources, mixed."""

    def __init__(
        self,
        sources: Sequence[tuple[PairSource, float]],
        augmentation: PairAugmentation,
        seed: int = 0,
        mixing: PairMixing | None = None,
    ) -> None:
        """Mix sources.

        Args:
            sources: Each with its share of the pairs (relative).
            augmentation: What is done to every pair.
            seed: At least 0; the same one gives the same pairs.
            mixing: Which pairs get part of another one; None: none.

        Raises:
            ValueError: If a share is below 0 or none is above, or the seed is below 0.
        """
        shares = np.array([share for _, share in sources], np.float64)
        if not len(sources) or shares.min() < 0 or shares.sum() <= 0:
            raise ValueError(f'`sources` must have shares above 0, got {shares.tolist()}')
        if seed < 0:
            raise ValueError(f'`seed` must be at least 0, got {seed}')
        self._sources = [source for source, _ in sources]
        self._shares = shares / shares.sum()
        self._augmentation = augmentation
        self._seed = seed
        self._mixing = mixing

    def __getitem__(self, index: int) -> TrainingPair:
        """The pair number `index`; the numbers never end."""
        rng = np.random.default_rng((self._seed, index))
        pair = self._augmented(rng)
        if self._mixing is not None and rng.random() < self._mixing.share:
            pair = self._mixing(pair, self._augmented(rng), rng)
        return to_tensors(*pair)

    def _augmented(self, rng: np.random.Generator) -> Pair:
        source = self._sources[int(rng.choice(len(self._sources), p=self._shares))]
        pair, focus = source.draw(rng)
        return self._augmentation(*pair, rng, focus=focus)


class RunningSampler(SequentialSampler):  # as such Lightning keeps it with `overfit_batches`
    """Numbers the pairs on through all epochs: none comes twice, and a resumed run goes on.

    With several processes each takes its part of every batch, so that together they see the pairs
    that one process would see.
    """

    def __init__(
        self,
        num_pairs: int,
        batch_size: int,
        first: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Prepare epochs.

        Args:
            num_pairs: Pairs per epoch of all processes; whole batches of them are used.
            batch_size: Pairs per batch of all processes, a multiple of `world_size`.
            first: Asked at the start of each epoch for the number of its first pair.
            rank: Number of this process.
            world_size: Number of processes.

        Raises:
            ValueError: If the numbers do not fit together.
        """
        if batch_size < 1 or batch_size % world_size:
            msg = f'a multiple of the {world_size} processes'
            raise ValueError(f'`batch_size` must be {msg}, got {batch_size}')
        if num_pairs < batch_size:
            msg = f'at least one batch ({batch_size})'
            raise ValueError(f'`pairs_per_epoch` must be {msg}, got {num_pairs}')
        self._batches = num_pairs // batch_size
        self._batch_size = batch_size
        self._first = first
        self._rank = rank
        self._part = batch_size // world_size

    def __iter__(self) -> Iterator[int]:
        start = self._first() + self._rank * self._part
        for _ in range(self._batches):
            yield from range(start, start + self._part)
            start += self._batch_size

    def __len__(self) -> int:
        return self._batches * self._part


class FixedPairDataset(Dataset[TrainingPair]):
    """Every labelled frame once, whole, with a reference `age` frames earlier: always the same."""

    def __init__(self, source: PairSource, age: int, height: int | None = None) -> None:
        """Take a source; images are shrunk to `height` rows, unless that is None, labels not."""
        self._source = source
        self._age = age
        self._height = height

    def __getitem__(self, index: int) -> TrainingPair:
        rng = np.random.default_rng((1, index))
        reference, image, label = self._source.pair(index, rng, self._age)
        height = self._height or 0
        return to_tensors(shrink(reference, height), shrink(image, height), label)

    def __len__(self) -> int:
        return len(self._source)


def to_tensors(reference: Image, labelled: Image, label: Image) -> TrainingPair:
    """Images to channels first; nothing is converted to float yet."""
    first, second = (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        for image in (reference, labelled)
    )
    return TrainingPair(first, second, torch.from_numpy(np.ascontiguousarray(label)))


def use_one_opencv_thread(_worker: int = 0) -> None:
    """Keep OpenCV from competing with the training for cores; also a `worker_init_fn`."""
    cv2.setNumThreads(1)
