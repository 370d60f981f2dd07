"""Where training pairs come from: videos and rendered drives; for stills see `still_pairs`.

A pair is (reference frame, labelled frame, label). Shapes: H W image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.label_sets import CAMVID, LabelSet
from dcfm_ros.training.pairs.gaps import Gaps

Image = NDArray[np.uint8]
LabelledFrame = tuple[Image, Image]
"""RGB (H, W, 3), class ids (H, W)."""
Pair = tuple[Image, Image, Image]
"""Reference RGB (H, W, 3), labelled RGB (H, W, 3), class ids of the latter (H, W)."""


RATE_HZ = 15.0
"""Rate at which stills are moved and drives are rendered."""


class PairSource(ABC):
    """Labelled frames, each with a reference frame some time away."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of labelled frames."""

    @abstractmethod
    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A pair at full size.

        Args:
            index: Which labelled frame, from 0.
            rng: Source of randomness.
            gap: Frames from the reference frame to the labelled one; None: drawn.
        """

    @abstractmethod
    def label(self, index: int) -> Image:
        """Class ids of a labelled frame as it was labelled, (H, W)."""

    def draw(self, rng: np.random.Generator) -> tuple[Pair, int | None]:
        """A pair of any labelled frame; the class that should be seen, if it is drawn for one."""
        return self.pair(int(rng.integers(len(self))), rng), None


class LabelledFrames(Sequence[LabelledFrame]):
    """The labelled frames of checked clips (see `check_frames`), decoded whenever asked for.

    Raises:
        ValueError: If no frame has a label.
    """

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self.places = [
            (index, frame) for index, clip in enumerate(clips) for frame in clip.labelled
        ]
        """(clip, frame) of each."""
        if not self.places:
            raise ValueError('`clips` must hold at least one labelled frame')

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        clip, frame = self.places[index]
        return read_frame(self._clips[clip].frames[frame], self._clips[clip].labels)


class VideoPairs(PairSource):
    """Frames of clips: the reference frame is a real neighbour.

    Where the clip ends before the reference frame, the one at the same distance on the other side
    is taken, and where that is missing too, the end of the clip that is farther away. A frame
    that is a clip of its own is its own reference.
    """

    def __init__(self, clips: Sequence[Clip], gaps: Gaps, in_memory: bool = False) -> None:
        """Take clips; only the frames with a label become labelled frames.

        Args:
            clips: Checked (see `check_frames`).
            gaps: How far apart the frames of a pair are.
            in_memory: Decode every frame once, now, instead of whenever it is needed.

        Raises:
            ValueError: If no frame has a label.
        """
        self._clips = clips
        self._gaps = gaps
        self._labelled = LabelledFrames(clips).places
        self._decoded = [
            [read_frame(frame, clip.labels) for frame in clip.frames]
            for clip in (clips if in_memory else ())
        ]

    def __len__(self) -> int:
        return len(self._labelled)

    @property
    def num_alone(self) -> int:
        """Labelled frames without a neighbour."""
        return sum(len(self._clips[clip].frames) == 1 for clip, _ in self._labelled)

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """A labelled frame and its neighbour `gap` frames earlier (negative: later)."""
        clip, frame = self._labelled[index]
        if gap is None:
            gap = self._gaps.draw(rng, self._clips[clip].rate_hz)
        last = len(self._clips[clip].frames) - 1
        farther_end = 0 if frame > last - frame else last
        sides = (frame - gap, frame + gap)
        other = next((side for side in sides if 0 <= side <= last), farther_end)
        reference, _ = self._read(clip, other)
        image, label = self._read(clip, frame)
        assert label is not None
        return reference, image, label

    def label(self, index: int) -> Image:
        """Of the labelled frame."""
        _, label = self._read(*self._labelled[index])
        assert label is not None
        return label

    def _read(self, clip: int, frame: int) -> tuple[Image, Image | None]:
        if self._decoded:
            return self._decoded[clip][frame]
        return read_frame(self._clips[clip].frames[frame], self._clips[clip].labels)


class DrivePairs(PairSource):
    """Rendered drives in arrays: both frames of a pair are real neighbours."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.uint8],
        gaps: Gaps | None,
        label_set: LabelSet = CAMVID,
    ) -> None:
        """Take rendered clips, in memory or memory-mapped.

        Args:
            images: RGB, (D, N, H, W, 3): D drives of N frames at 15 Hz.
            labels: Values of `label_set`, (D, N, H, W).
            gaps: How far apart the frames of a pair are; cut to the length of a drive. None: a
                frame is its own reference.
            label_set: What the labels hold.

        Raises:
            ValueError: If the shapes are not as above, or a drive has one frame only.
        """
        if images.shape[:-1] != labels.shape or labels.shape[1] < 2:
            got = f'got {images.shape} and {labels.shape}'
            raise ValueError(f'`images` and `labels` must be drives of 2 or more frames, {got}')
        self._images = images
        self._labels = labels
        self._gaps = gaps
        self._to_class = label_set.to_class

    def __len__(self) -> int:
        return int(self._labels.shape[0] * self._labels.shape[1])

    def pair(self, index: int, rng: np.random.Generator, gap: int | None = None) -> Pair:
        """Two frames of one drive and the label of the second."""
        num_frames = self._labels.shape[1]
        drive, frame = divmod(index, num_frames)
        if self._gaps is None:
            gap = 0
        elif gap is None:
            gap = self._gaps.draw(rng, RATE_HZ)
        gap = int(np.clip(gap, 1 - num_frames, num_frames - 1))
        # A frame too near to the drive's end gives its place to one that has the neighbour.
        frame = min(max(frame, gap), num_frames - 1 + min(gap, 0))
        image = self._images[drive, frame]
        reference = self._images[drive, frame - gap] if gap else image
        return reference, image, self._to_class[self._labels[drive, frame]]

    def label(self, index: int) -> Image:
        """Of the frame, which near a drive's end may give its place to another."""
        return self._to_class[self._labels[divmod(index, self._labels.shape[1])]]
