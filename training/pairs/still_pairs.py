"""Pairs from labelled stills: in synthetic motion, or at rest. Shapes: H W image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.training.pairs.gaps import Gaps
from dcfm_ros.training.pairs.layer_motion import LayerMotion
from dcfm_ros.training.pairs.pair_sources import (
    RATE_HZ,
    LabelledFrame,
    Pair,
    PairSource,
)
from dcfm_ros.training.pairs.still_motion import (
    StandingObject,
    Still,
    moved_view,
    paste,
    prepare_still,
    sample_ego,
)

Image = NDArray[np.uint8]


class RoadScenePairs(PairSource):
    """Stills of road scenes in memory, moved as a street (see `still_motion`).

    Objects of other stills are pasted in now and then: a few hundred stills show few people and
    bicycles.
    """

    def __init__(
        self,
        frames: Sequence[LabelledFrame],
        gaps: Gaps,
        paste_share: float = 0.3,
        sets: Sequence[Sequence[int]] = (),
    ) -> None:
        """Take decoded frames: RGB (H, W, 3) and CamVid class ids (H, W) each.

        A share `paste_share` of the pairs gets one to three extra objects. The ids behind those of
        the classes stand for `sets` of them.
        """
        if not frames:
            raise ValueError('`frames` must not be empty')
        self._gaps = gaps
        self._paste_share = paste_share
        # All at once (20 ms each), so that worker processes share them instead of each its own.
        self._stills = [prepare_still(image, label, sets) for image, label in frames]

    def __len__(self) -> int:
        return len(self._stills)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A still and its view from the camera's place some frames before or after.

        With a given `gap` nothing is pasted in.
        """
        still = self._stills[index]
        image, label, objects = still.image, still.label, still.objects
        if gap is None:
            gap = self._gaps.draw(rng, RATE_HZ)
            if rng.random() < self._paste_share:
                other = self._stills[int(rng.integers(len(self._stills)))]
                image, label, extra = _with_objects(image, label, other, rng)
                objects = [*objects, *extra]
        ego = sample_ego(gap, label.shape[1], rng)
        return moved_view(still, ego, objects, gap, rng), image, label

    def label(self, index: int) -> Image:
        """Of the still, before anything is pasted in."""
        return self._stills[index].label


class LayeredPairs(PairSource):
    """Stills of any label set, moved as layers (see `layer_motion`)."""

    def __init__(self, frames: Sequence[LabelledFrame], gaps: Gaps) -> None:
        """Take stills, decoded or read when needed."""
        self._frames = frames
        self._gaps = gaps
        self._motion = LayerMotion()

    def __len__(self) -> int:
        return len(self._frames)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A still and how it may have looked `gap` frames before (negative: after)."""
        image, label = self._frames[index]
        if gap is None:
            gap = self._gaps.draw(rng, RATE_HZ)
        return self._motion.reference(image, label, gap, rng), image, label

    def label(self, index: int) -> Image:
        """Of the still."""
        return self._frames[index][1]


class StillPairs(PairSource):
    """Labelled frames at rest, each its own reference: for image networks, which know no time.

    The two frames of a pair are one array, so that an augmentation need not warp it twice.
    """

    def __init__(self, frames: Sequence[LabelledFrame], paste_share: float = 0.0) -> None:
        """Take stills, decoded or read when needed.

        Args:
            frames: RGB (H, W, 3) and class ids (H, W) each.
            paste_share: Share of pairs that get one to three objects of another still, in [0, 1];
                above 0 only with CamVid's classes, and all stills are read once, now.
        """
        self._frames = frames
        self._paste_share = paste_share
        self._objects = [
            _Objects(label, prepare_still(image, label).objects)
            for image, label in (frames if paste_share > 0 else ())
        ]

    def __len__(self) -> int:
        return len(self._frames)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A still, twice, and its label. With a given `gap` nothing is pasted in."""
        image, label = self._frames[index]
        if gap is None and self._objects and rng.random() < self._paste_share:
            other = self._objects[int(rng.integers(len(self._objects)))]
            image, label, _ = _with_objects(image, label, other, rng)
        return image, image, label

    def label(self, index: int) -> Image:
        """Of the still, before anything is pasted in."""
        return self._frames[index][1]


class _Objects(NamedTuple):
    """What a still gives to others."""

    label: Image
    objects: list[StandingObject]


def _with_objects(
    image: Image, label: Image, other: Still | _Objects, rng: np.random.Generator
) -> tuple[Image, Image, list[StandingObject]]:
    """Copies with one to three objects of another still, where they stood there; these objects."""
    if not other.objects or other.label.shape != label.shape:
        return image, label, []
    count = min(int(rng.integers(1, 4)), len(other.objects))
    chosen = rng.choice(len(other.objects), count, replace=False)
    extra = [other.objects[int(index)] for index in chosen]
    image, label = image.copy(), label.copy()
    for thing in sorted(extra, key=lambda item: item.base):
        paste(image, label, thing)
    return image, label, extra
