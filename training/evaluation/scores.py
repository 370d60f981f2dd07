"""What a row of an evaluation is counted from; counts of clips merge into those of a dataset.

Shapes: H W image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
import math
from statistics import median

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.metrics import ConfusionMatrix, VideoConsistency

Image = NDArray[np.uint8]

WINDOWS = (8, 16)
FORMS = {'official': '', 'paper': '_paper'}
"""Forms of the video consistency and how their keys end."""
HOLD_DISTANCES = (1, 2, 3, 4, 8)


class Scores:
    """Metrics of one way to segment, pooled over clips and start phases."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._confusion: dict[tuple[int, bool], ConfusionMatrix] = {}  # by start and is_keyframe
        self._num_frames = {True: 0, False: 0}  # by is_keyframe
        self._consistency = {
            f'mvc{window}{ending}': VideoConsistency(window, form)
            for form, ending in FORMS.items()
            for window in WINDOWS
        }

    def add_frame(self, mask: Image, label: Image, *, is_keyframe: bool, start: int = 0) -> None:
        """Count a frame of a pass: mask and label (H, W), and what it was to the schedule."""
        confusion = self._confusion.setdefault(
            (start, is_keyframe), ConfusionMatrix(self._num_classes)
        )
        confusion.update(mask, label)
        self._num_frames[is_keyframe] += 1

    def add_video_frame(self, mask: Image, label: Image) -> None:
        """Take in the next frame of a clip for the video consistency: mask and label (H, W)."""
        for consistency in self._consistency.values():
            consistency.add_frame(mask, label)

    def end_clip(self) -> None:
        """Say that the next frame is another clip's."""
        for consistency in self._consistency.values():
            consistency.end_clip()

    def merge(self, other: Scores) -> None:
        """Put the frames and clips of another one behind those of this one."""
        for key, confusion in other._confusion.items():
            self._confusion.setdefault(key, ConfusionMatrix(self._num_classes)).merge(confusion)
        for is_keyframe, count in other._num_frames.items():
            self._num_frames[is_keyframe] += count
        for name, consistency in other._consistency.items():
            self._consistency[name].merge(consistency)

    def pooled(self, *, start: int | None = None, key: bool | None = None) -> ConfusionMatrix:
        """Counts of the frames of one start phase, of key or non-key frames only, or of all."""
        total = ConfusionMatrix(self._num_classes)
        for (its_start, is_keyframe), confusion in self._confusion.items():
            if start in (None, its_start) and key in (None, is_keyframe):
                total.merge(confusion)
        return total

    def values(self, class_names: Sequence[str]) -> dict[str, object]:
        """The figures of a row; fractions in [0, 1], None where undefined."""
        pooled = self.pooled()
        num_frames = sum(self._num_frames.values())
        share = self._num_frames[True] / num_frames if num_frames else math.nan
        starts = {start for start, _ in self._confusion}
        phases = [self.pooled(start=start).miou() for start in sorted(starts)]
        return {
            'miou': miou(pooled),
            'miou_labelled': or_none(pooled.miou('ignore')),
            'miou_phase_mean': sum(phases) / len(phases) if phases else None,
            'wiou': or_none(pooled.wiou()),
            'mean_accuracy': pooled.mean_accuracy() if num_frames else None,
            'miou_key': miou(self.pooled(key=True)),
            'miou_nonkey': miou(self.pooled(key=False)),
            **{name: or_none(item.value()) for name, item in self._consistency.items()},
            'keyframe_share': or_none(share),
            'frames': num_frames,
            'iou': iou_by_class(pooled, class_names),
        }


class PassScores:
    """What passes over clips tell about one schedule of one network."""

    def __init__(self, num_classes: int) -> None:
        self.engine = Scores(num_classes)
        self.hold = Scores(num_classes)
        """Every keyframe's mask, repeated until the next keyframe."""
        self.label_hold = Scores(num_classes)
        """The same with the keyframe's hand-made label; dense clips only."""
        self.frame_ms: dict[bool, list[float]] = {True: [], False: []}
        """The engine's time of every frame that was run, by is_keyframe."""
        self.num_frames = 0
        """Frames of the passes, run or not."""
        self.num_keyframes = 0
        """Keyframes among them."""

    def merge(self, other: PassScores) -> None:
        """Put the passes of another one behind those of this one."""
        self.engine.merge(other.engine)
        self.hold.merge(other.hold)
        self.label_hold.merge(other.label_hold)
        for is_keyframe, times in other.frame_ms.items():
            self.frame_ms[is_keyframe] += times
        self.num_frames += other.num_frames
        self.num_keyframes += other.num_keyframes

    def keyframe_share(self) -> float:
        """Share of keyframes among all frames that were run."""
        num_keyframes, num_others = (len(self.frame_ms[key]) for key in (True, False))
        return num_keyframes / (num_keyframes + num_others)

    def average_interval(self) -> float | None:
        """Frames per keyframe, as the schedule has it."""
        return self.num_frames / self.num_keyframes if self.num_keyframes else None

    def median_ms(self) -> dict[str, float | None]:
        """Medians of the engine's time per keyframe and per non-key frame."""
        return {
            f'ms_{name}': round(median(times), 3)
            if (times := self.frame_ms[is_keyframe])
            else None
            for name, is_keyframe in (('key', True), ('nonkey', False))
        }


class LabelHold:
    """The mIoU of showing the label of d frames ago, by d: the floor of any video method.

    Pixels that had no class d frames ago are not counted.
    """

    def __init__(self, num_classes: int) -> None:
        self._confusion = {d: ConfusionMatrix(num_classes) for d in HOLD_DISTANCES}

    def add_clip(self, labels: Iterable[Image]) -> None:
        """Count a clip with a label (H, W) for every frame; the newest few are kept."""
        recent: deque[Image] = deque(maxlen=max(HOLD_DISTANCES) + 1)
        for label in labels:
            recent.appendleft(label)
            for distance, confusion in self._confusion.items():
                if distance < len(recent):
                    old = recent[distance]
                    confusion.update(old, both_known(old, label))

    def merge(self, other: LabelHold) -> None:
        """Add the clips of another one."""
        for distance, confusion in other._confusion.items():
            self._confusion[distance].merge(confusion)

    def values(self) -> dict[str, float | None]:
        """By distance in frames; None where no two labels are that far apart."""
        return {str(distance): miou(item) for distance, item in self._confusion.items()}


def both_known(old: Image, new: Image) -> Image:
    """The new label without the pixels that the old one says nothing about, (H, W)."""
    return np.where(old == UNLABELLED, UNLABELLED, new).astype(np.uint8)


def miou(confusion: ConfusionMatrix) -> float | None:
    """The mean IoU with absent classes at 0; None where nothing was counted."""
    return confusion.miou() if confusion.label_pixels().any() else None


def iou_by_class(
    confusion: ConfusionMatrix, class_names: Sequence[str]
) -> dict[str, float | None]:
    """IoU by class name; None for a class that neither a label nor a prediction has."""
    ious, unions = confusion.iou_per_class(), confusion.union_pixels()
    return {
        name: float(iou) if union else None
        for name, iou, union in zip(class_names, ious, unions, strict=True)
    }


def or_none(value: float) -> float | None:
    """JSON knows no nan."""
    return None if math.isnan(value) else value
