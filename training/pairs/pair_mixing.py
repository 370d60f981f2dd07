"""Pastes part of one augmented pair over another: ClassMix or CutMix, for both frames at once.

Shapes: h w crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.pairs.pair_sources import Pair

KINDS = ('classmix', 'cutmix')


@dataclass(frozen=True)
class PairMixing:
    """Which pairs are mixed, and how.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    share: float = 0.5
    """Share of the pairs that get part of another one, in [0, 1]."""
    kind: str = 'classmix'
    """What is pasted: 'classmix' (the pixels of half of the other label's classes, Olsson et al.
    2021; a set of classes counts as one) or 'cutmix' (a box whose area is drawn from Beta(1, 1),
    Yun et al. 2019)."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f'`share` must be in [0, 1], got {self.share}')
        if self.kind not in KINDS:
            raise ValueError(f'`kind` must be one of {", ".join(KINDS)}, got {self.kind!r}')

    def __call__(self, under: Pair, over: Pair, rng: np.random.Generator) -> Pair:
        """Paste part of a pair over another one of the same size; neither is changed.

        Args:
            under: RGB (h, w, 3) twice and class ids (h, w).
            over: The same; where its label is 255, 'classmix' pastes nothing.
            rng: Source of randomness.
        """
        draw = _some_classes if self.kind == 'classmix' else _box
        mask = draw(over[2], rng)
        # One mask for all three, although what it cuts out of the labelled frame stood elsewhere
        # in the reference frame by some pixels. The reference frame has no label that it could
        # contradict, the consistency term leaves out where the frames disagree, and at the rim of
        # the mask things are covered and uncovered, as between any two frames.
        reference, labelled, label = (
            np.asarray(cv2.copyTo(above, mask, below.copy()), np.uint8)
            for below, above in zip(under, over, strict=True)
        )
        return reference, labelled, label


def _some_classes(label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """1 on half of the ids that occur, of classes and of sets, rounded up, (h, w)."""
    present = np.flatnonzero(np.bincount(label.ravel(), minlength=256)[:UNLABELLED])
    table = np.zeros(256, np.uint8)
    table[rng.permutation(present)[: (len(present) + 1) // 2]] = 1
    return table[label]


def _box(label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """1 in a box around any pixel, of which the edge may cut off some, (h, w)."""
    size = np.array(label.shape)
    half = np.sqrt(rng.beta(1, 1)) * size / 2
    centre = rng.random(2) * size
    top, left = np.maximum(np.rint(centre - half), 0).astype(int)
    bottom, right = np.rint(centre + half).astype(int)
    mask = np.zeros(label.shape, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask
