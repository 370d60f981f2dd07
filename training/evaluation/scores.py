"""What a row of an evaluation is counted from; counts of clips merge into those of a dataset.

Shapes: H W image.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Sequence
import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.evaluation.coarse_scores import CoarseScores
from dcfm_ros.training.evaluation.frame_times import MeasuredTimes
from dcfm_ros.training.evaluation.reliability import Reliability
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.metrics import ConfusionMatrix, VideoConsistency

Image = NDArray[np.uint8]

WINDOWS = (8, 16)
FORMS = {'official': '', 'paper': '_paper'}
"""Forms of the video consistency and how their keys end."""
HOLD_DISTANCES = (1, 2, 3, 4, 8)


class Scores:
    """Metrics of one way to segment, pooled over clips and start phases."""

    def __init__(self, num_classes: int, coarse: CoarseScores | None = None) -> None:
        """Count nothing yet; `coarse` counts the frames too, for labels with sets of classes."""
        self._num_classes = num_classes
        self.coarse = coarse
        self._confusion: dict[tuple[int, int], ConfusionMatrix] = {}  # by start and age
        self._num_frames: Counter[int] = Counter()  # by age
        self._consistency = {
            f'mvc{window}{ending}': VideoConsistency(window, form)
            for form, ending in FORMS.items()
            for window in WINDOWS
        }

    def add_frame(self, mask: Image, label: Image, *, age: int, start: int = 0) -> None:
        """Count a frame: mask and label (H, W), age of the feature, first keyframe of the pass."""
        confusion = self._confusion.setdefault((start, age), ConfusionMatrix(self._num_classes))
        confusion.update(mask, label)
        if self.coarse is not None:
            self.coarse.update(mask, label)
        self._num_frames[age] += 1

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
        if self.coarse is not None and other.coarse is not None:
            self.coarse.merge(other.coarse)
        self._num_frames.update(other._num_frames)
        for name, consistency in other._consistency.items():
            self._consistency[name].merge(consistency)

    def pooled(
        self, *, start: int | None = None, ages: Container[int] | None = None
    ) -> ConfusionMatrix:
        """Counts of the frames of one start phase, of some ages only, or of all."""
        total = ConfusionMatrix(self._num_classes)
        for (its_start, age), confusion in self._confusion.items():
            if start in (None, its_start) and (ages is None or age in ages):
                total.merge(confusion)
        return total

    def by_age(self) -> list[dict[str, Any]]:
        """Frames and their mIoU for every age of the feature in use, rising."""
        return [
            {'age': age, 'miou': miou(self.pooled(ages=(age,))), 'frames': count}
            for age, count in sorted(self._num_frames.items())
        ]

    def values(self, class_names: Sequence[str]) -> dict[str, object]:
        """The figures of a row; fractions in [0, 1], None where undefined."""
        pooled = self.pooled()
        num_frames = sum(self._num_frames.values())
        share = self._num_frames[0] / num_frames if num_frames else math.nan
        starts = {start for start, _ in self._confusion}
        by_start = [miou(self.pooled(start=start)) for start in sorted(starts)]
        phases = [value for value in by_start if value is not None]
        return {
            'miou': miou(pooled),
            'miou_labelled': or_none(pooled.miou('ignore')),
            'miou_phase_mean': sum(phases) / len(phases) if phases else None,
            'wiou': or_none(pooled.wiou()),
            'mean_accuracy': or_none(pooled.mean_accuracy()),
            'miou_key': miou(self.pooled(ages=(0,))),
            'miou_nonkey': miou(self.pooled(ages=range(1, sys.maxsize))),
            'by_age': self.by_age(),
            **{name: or_none(item.value()) for name, item in self._consistency.items()},
            'keyframe_share': or_none(share),
            'frames': num_frames,
            'iou': iou_by_class(pooled, class_names),
            **self._coarse_values(),
        }

    def _coarse_values(self) -> dict[str, object]:
        """The same of the entries of the label files, where some are sets of classes."""
        if self.coarse is None:
            return {}
        confusion, names = self.coarse.confusion, self.coarse.names
        return {'coarse_miou': miou(confusion), 'coarse_iou': iou_by_class(confusion, names)}


class PassScores:
    """What passes over clips tell about one schedule of one network."""

    def __init__(self, labels: LabelSet) -> None:
        """Count nothing yet; `labels` are what the clips have."""
        num_classes, has_sets = labels.num_classes, bool(labels.sets)
        self.engine = Scores(num_classes, CoarseScores(labels) if has_sets else None)
        self.hold = Scores(num_classes, CoarseScores(labels) if has_sets else None)
        """Every keyframe's mask, repeated until the next keyframe."""
        self.label_hold = Scores(num_classes)
        """The same with the keyframe's hand-made label; dense clips only."""
        self.reliability = Reliability()
        """Of the engine's confidence."""
        self.times = MeasuredTimes()
        """Of all frames that were run."""
        self.counts: Counter[str] = Counter()
        """'frames' and 'keyframes' of the passes, 'run' and 'run_keyframes' of those run."""
        self.computed_by: set[tuple[str, str]] = set()
        """Backend and precision of the engines."""

    def merge(self, other: PassScores) -> None:
        """Put the passes of another one behind those of this one."""
        self.engine.merge(other.engine)
        self.hold.merge(other.hold)
        self.label_hold.merge(other.label_hold)
        self.reliability.merge(other.reliability)
        self.times.merge(other.times)
        self.counts.update(other.counts)
        self.computed_by |= other.computed_by

    def backends(self) -> dict[str, str | None]:
        """'backend' and 'precision' of a row, as used; None where nothing was run.

        Where it was not one for all passes: 'openvino + torch' and 'int8 + fp32'.
        """
        pairs = sorted(self.computed_by)
        backends, precisions = (' + '.join(pair[i] for pair in pairs) or None for i in (0, 1))
        return {'backend': backends, 'precision': precisions}

    def keyframe_share(self) -> float | None:
        """Share of keyframes among all frames that were run."""
        return self.counts['run_keyframes'] / self.counts['run'] if self.counts['run'] else None

    def average_interval(self) -> float | None:
        """Frames per keyframe, as the schedule has it."""
        keyframes = self.counts['keyframes']
        return self.counts['frames'] / keyframes if keyframes else None

    def timed(self, by_age: Iterable[dict[str, Any]]) -> dict[str, object]:
        """Times of a row, in ms, and its frames of every age with theirs."""
        timed = [row | {'ms': round(self.times.at_age(row['age']), 3)} for row in by_age]
        count = sum(row['frames'] for row in timed)
        total_ms = sum(row['frames'] * row['ms'] for row in timed)
        mean_ms = round(total_ms / count, 3) if count else None
        return self.times.medians() | {'ms_mean': mean_ms, 'by_age': timed}


class LabelHold:
    """The mIoU of showing the label of d frames ago, by d: the floor of any video method.

    Pixels that had no class d frames ago, or a set of them, are not counted.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._confusion = {d: ConfusionMatrix(num_classes) for d in HOLD_DISTANCES}

    def add_clip(self, labels: Iterable[Image]) -> None:
        """Count a clip with a label (H, W) for every frame; the newest few are kept."""
        recent: deque[Image] = deque(maxlen=max(HOLD_DISTANCES) + 1)
        for label in labels:
            if recent and recent[0].shape != label.shape:  # nothing is held over a change of size
                recent.clear()
            recent.appendleft(label)
            for distance, confusion in self._confusion.items():
                if distance < len(recent):
                    old = recent[distance]
                    confusion.update(old, both_known(old, label, self._num_classes))

    def merge(self, other: LabelHold) -> None:
        """Add the clips of another one."""
        for distance, confusion in other._confusion.items():
            self._confusion[distance].merge(confusion)

    def values(self) -> dict[str, float | None]:
        """By distance in frames; None where no two labels are that far apart."""
        return {str(distance): miou(item) for distance, item in self._confusion.items()}


def both_known(old: Image, new: Image, num_classes: int) -> Image:
    """The new label without the pixels of which the old one names no class, (H, W)."""
    return np.where(old < num_classes, new, UNLABELLED).astype(np.uint8)


def miou(confusion: ConfusionMatrix) -> float | None:
    """The mean IoU with absent classes at 0; None where nothing was counted."""
    return or_none(confusion.miou())


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
