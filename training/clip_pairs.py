"""Pairs for symmetric training: (reference frame, labelled frame, label).

Two sources: labelled stills that are moved synthetically, and synthetic drives, whose neighbours
are real renderings. Every pair follows from (seed, index) alone.

Shapes: H W image, h w crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dcfm_ros.training.augment import Augmentation, augment_pair
from dcfm_ros.training.still_motion import (
    StandingObject,
    Still,
    moved_view,
    paste,
    prepare_still,
    sample_ego,
)

Image = NDArray[np.uint8]


class ClipPair(NamedTuple):
    """One sample, or a batch of them with B in front."""

    reference: Tensor
    """uint8 RGB, (3, h, w)."""
    labelled: Tensor
    """uint8 RGB, (3, h, w)."""
    label: Tensor
    """uint8 class ids of the labelled frame, (h, w); 255 = ignore."""


class PairSource(Protocol):
    """Draws pairs of frames at full size."""

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image, Image]:
        """(reference RGB, labelled RGB, label), (H, W, 3) twice and (H, W)."""
        ...


class AgeDistribution:
    """Ages at which a deployed schedule reuses a keyframe.

    A keyframe interval of K serves the ages 1 to K-1 equally often; several intervals share alike.
    """

    def __init__(self, keyframe_intervals: Sequence[int], future_share: float = 0.0) -> None:
        """Mix the ages of schedules.

        Args:
            keyframe_intervals: Intervals to prepare for, at least 2 each, in frames.
            future_share: Share of pairs whose reference comes AFTER the labelled frame, as in
                the bidirectional mode.
        """
        if not keyframe_intervals or min(keyframe_intervals) < 2:
            got = list(keyframe_intervals)
            raise ValueError(f'`keyframe_intervals` must be at least 2 each, got {got}')
        if not 0 <= future_share <= 1:
            raise ValueError(f'`future_share` must be in [0, 1], got {future_share}')
        self.keyframe_intervals = tuple(keyframe_intervals)
        self.future_share = future_share

    def draw(self, rng: np.random.Generator) -> int:
        """Frames from the reference to the labelled frame; negative: it comes after."""
        interval = self.keyframe_intervals[int(rng.integers(len(self.keyframe_intervals)))]
        age = int(rng.integers(1, interval))
        return -age if rng.random() < self.future_share else age


class StillSource:
    """Labelled stills in memory, moved synthetically.

    Objects of other stills are pasted in now and then: a few hundred stills show few people and
    bicycles.
    """

    def __init__(
        self,
        frames: Sequence[tuple[Image, Image]],
        ages: AgeDistribution,
        paste_share: float = 0.3,
    ) -> None:
        """Take decoded (image, label) frames.

        Args:
            frames: RGB (H, W, 3) and class ids (H, W) each.
            ages: How far apart the frames of a pair are.
            paste_share: Share of pairs that get one to three extra objects, in [0, 1].
        """
        if not frames:
            raise ValueError('`frames` must not be empty')
        self._ages = ages
        self._paste_share = paste_share
        # All at once (20 ms each), so that worker processes share them instead of each its own.
        self._stills = [prepare_still(image, label) for image, label in frames]

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image, Image]:
        """A still and its view from the camera's place some frames before or after."""
        still = self._any_still(rng)
        age = self._ages.draw(rng)
        image, label, objects = still.image, still.label, still.objects
        if rng.random() < self._paste_share and (extra := self._extra_objects(label.shape, rng)):
            image, label, objects = image.copy(), label.copy(), [*objects, *extra]
            for thing in sorted(extra, key=lambda item: item.base):
                paste(image, label, thing)
        ego = sample_ego(age, label.shape[1], rng)
        return moved_view(still, ego, objects, age, rng), image, label

    def _any_still(self, rng: np.random.Generator) -> Still:
        return self._stills[int(rng.integers(len(self._stills)))]

    def _extra_objects(
        self, shape: tuple[int, ...], rng: np.random.Generator
    ) -> list[StandingObject]:
        """Objects of another still, where they stood there."""
        other = self._any_still(rng)
        if not other.objects or other.label.shape != shape:
            return []
        count = min(int(rng.integers(1, 4)), len(other.objects))
        chosen = rng.choice(len(other.objects), count, replace=False)
        return [other.objects[int(index)] for index in chosen]


class DriveSource:
    """Rendered drives: both frames of a pair are real neighbours."""

    def __init__(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], ages: AgeDistribution
    ) -> None:
        """Take rendered clips, in memory or memory-mapped.

        Args:
            images: RGB, (D, N, H, W, 3): D drives of N frames.
            labels: Class ids, (D, N, H, W).
            ages: How far apart the frames of a pair are; longer than a drive is cut to it.
        """
        if images.shape[:-1] != labels.shape or labels.shape[1] < 2:
            got = f'got {images.shape} and {labels.shape}'
            raise ValueError(f'`images` and `labels` must be drives of 2 or more frames, {got}')
        self._images = images
        self._labels = labels
        self._ages = ages

    def draw(self, rng: np.random.Generator) -> tuple[Image, Image, Image]:
        """Two frames of one drive and the label of one of them."""
        num_drives, num_frames = self._labels.shape[:2]
        drive = int(rng.integers(num_drives))
        age = int(np.clip(self._ages.draw(rng), 1 - num_frames, num_frames - 1))
        frame = int(rng.integers(max(age, 0), num_frames + min(age, 0)))
        images = self._images[drive]
        return images[frame - age], images[frame], self._labels[drive, frame]


class ClipPairDataset(Dataset[ClipPair]):
    """Augmented pairs of all sources, mixed."""

    def __init__(
        self,
        sources: Sequence[tuple[PairSource, float]],
        augmentation: Augmentation,
        seed: int = 0,
    ) -> None:
        """Mix sources.

        Args:
            sources: Each with its share of the pairs (relative).
            augmentation: What is done to every pair.
            seed: Any number; the same one gives the same pairs.
        """
        shares = np.array([share for _, share in sources], np.float64)
        if not len(sources) or shares.min() < 0 or shares.sum() <= 0:
            raise ValueError(f'`sources` must have shares above 0, got {shares.tolist()}')
        self._sources = [source for source, _ in sources]
        self._shares = shares / shares.sum()
        self._augmentation = augmentation
        self._seed = seed

    def __getitem__(self, index: int) -> ClipPair:
        """The pair number `index`; there is no last one."""
        rng = np.random.default_rng((self._seed, index))
        source = self._sources[int(rng.choice(len(self._sources), p=self._shares))]
        return to_tensors(*augment_pair(*source.draw(rng), self._augmentation, rng))


class RunningSampler(Sampler[int]):
    """Numbers the pairs on through all epochs: none comes twice, and a resumed run goes on."""

    def __init__(self, num_pairs: int, first: Callable[[], int]) -> None:
        """Prepare epochs.

        Args:
            num_pairs: Pairs per epoch.
            first: Asked at the start of each epoch for the number of its first pair.
        """
        self.num_pairs = num_pairs
        self._first = first

    def __iter__(self) -> Iterator[int]:
        start = self._first()
        return iter(range(start, start + self.num_pairs))

    def __len__(self) -> int:
        return self.num_pairs


class FixedPairDataset(Dataset[ClipPair]):
    """Every still once, whole, with a reference `age` frames earlier: the same on every call."""

    def __init__(self, frames: Sequence[tuple[Image, Image]], age: int) -> None:
        self._frames = frames
        self._age = age

    def __getitem__(self, index: int) -> ClipPair:
        still = prepare_still(*self._frames[index])
        rng = np.random.default_rng((1, index))
        ego = sample_ego(self._age, still.label.shape[1], rng)
        reference = moved_view(still, ego, still.objects, self._age, rng)
        return to_tensors(reference, still.image, still.label)

    def __len__(self) -> int:
        return len(self._frames)


def to_tensors(reference: Image, labelled: Image, label: Image) -> ClipPair:
    """Images to channels first; nothing is converted to float yet."""
    first, second = (
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        for image in (reference, labelled)
    )
    return ClipPair(first, second, torch.from_numpy(np.ascontiguousarray(label)))


def use_one_opencv_thread(_worker: int = 0) -> None:
    """Keep OpenCV from competing with the training for cores; also a `worker_init_fn`."""
    cv2.setNumThreads(1)
