"""Pairs from labelled stills: in synthetic motion, or at rest. Shapes: H W image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.pairs.gaps import Gaps
from dcfm_ros.training.pairs.layer_motion import LayerMotion
from dcfm_ros.training.pairs.pair_sources import (
    RATE_HZ,
    Pair,
    PairSource,
    labelled_frames,
    read_labelled,
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
        self, frames: Sequence[tuple[Image, Image]], gaps: Gaps, paste_share: float = 0.3
    ) -> None:
        """Take decoded frames.

        Args:
            frames: RGB (H, W, 3) and CamVid class ids (H, W) each.
            gaps: How far apart the frames of a pair are.
            paste_share: Share of pairs that get one to three extra objects, in [0, 1].
        """
        if not frames:
            raise ValueError('`frames` must not be empty')
        self._gaps = gaps
        self._paste_share = paste_share
        # All at once (20 ms each), so that worker processes share them instead of each its own.
        self._stills = [prepare_still(image, label) for image, label in frames]

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
    """Stills of any label set, moved as layers (see `layer_motion`), read when needed."""

    def __init__(self, clips: Sequence[Clip], gaps: Gaps) -> None:
        """Take clips; every labelled frame is a still.

        Args:
            clips: Checked (see `check_frames`).
            gaps: How far apart the frames of a pair are.

        Raises:
            ValueError: If no frame has a label.
        """
        self._clips = clips
        self._gaps = gaps
        self._labelled = labelled_frames(clips)
        self._motion = LayerMotion()

    def __len__(self) -> int:
        return len(self._labelled)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A still and how it may have looked `gap` frames before (negative: after)."""
        image, label = read_labelled(self._clips, self._labelled[index])
        if gap is None:
            gap = self._gaps.draw(rng, RATE_HZ)
        return self._motion.reference(image, label, gap, rng), image, label

    def label(self, index: int) -> Image:
        """Of the still."""
        return read_labelled(self._clips, self._labelled[index])[1]


class StillPairs(PairSource):
    """Labelled frames at rest, each its own reference: for image networks, which know no time.

    The two frames of a pair are one array, so that an augmentation need not warp it twice.
    """

    def __init__(
        self, clips: Sequence[Clip], in_memory: bool = False, paste_share: float = 0.0
    ) -> None:
        """Take clips; every labelled frame is a still.

        Args:
            clips: Checked (see `check_frames`).
            in_memory: Decode every still once, now, instead of whenever it is needed.
            paste_share: Share of pairs that get one to three objects of another still, in [0, 1];
                above 0 only for stills in memory with CamVid's classes.

        Raises:
            ValueError: If no frame has a label, or objects of stills on disk are asked for.
        """
        if paste_share > 0 and not in_memory:
            raise ValueError(f'`paste_share` must be 0 for stills on disk, got {paste_share}')
        self._clips = clips
        self._labelled = labelled_frames(clips)
        self._paste_share = paste_share
        self._decoded = [
            read_labelled(clips, place) for place in (self._labelled if in_memory else ())
        ]
        self._objects = [
            _Objects(label, prepare_still(image, label).objects)
            for image, label in (self._decoded if paste_share > 0 else ())
        ]

    def __len__(self) -> int:
        return len(self._labelled)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A still, twice, and its label. With a given `gap` nothing is pasted in."""
        image, label = self._still(index)
        if gap is None and self._objects and rng.random() < self._paste_share:
            other = self._objects[int(rng.integers(len(self._objects)))]
            image, label, _ = _with_objects(image, label, other, rng)
        return image, image, label

    def label(self, index: int) -> Image:
        """Of the still, before anything is pasted in."""
        return self._still(index)[1]

    def _still(self, index: int) -> tuple[Image, Image]:
        if self._decoded:
            return self._decoded[index]
        return read_labelled(self._clips, self._labelled[index])


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
