"""Masks of a run against labels, against the per-frame network, and against their neighbours.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.training.evaluation.scores import Scores, iou_by_class, or_none
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]


class RunQuality:
    """Counts of the frames of a run; those of several runs merge into those of a fleet.

    Two comparisons are kept apart: with labels (`accuracy`), and with the masks of the same
    weights run on every frame by itself (`fidelity`), which needs no label.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.accuracy = Scores(num_classes)
        self.fidelity = Scores(num_classes)
        self.streaming: ConfusionMatrix | None = None
        """Labels against the mask that a live camera's user would see by then."""
        self.num_labelled = 0
        self.num_compared = 0
        """Frames of which the per-frame network's mask is known."""
        self.num_unfit_labels = 0
        """Labels of another size than their image; not counted."""
        self._before: dict[str, Mask | None] = {}

    def add(
        self,
        mask: Mask | None,
        *,
        label: Mask | None = None,
        reference: Mask | None = None,
        age: int = 0,
    ) -> dict[str, float]:
        """Take the next frame of a run.

        Args:
            mask: Class of every pixel, (H, W); None if the frame was dropped.
            label: True classes, (H, W), or None; 255 and ids without a class are not counted.
            reference: Mask of the per-frame network, (H, W), or None.
            age: Of the feature that the mask was made with, frames.

        Returns:
            Figures of this frame, as shares of its pixels: 'accuracy' (of the labelled pixels
            that are right), 'agreement' (with the reference), and 'changed', 'reference_changed',
            'label_changed' (other than in the frame before). What cannot be told is left out.
        """
        if mask is not None and label is not None and label.shape != mask.shape:
            self.num_unfit_labels += 1
            label = None
        found = {}
        if mask is None or label is None:
            self.accuracy.end_clip()
        else:
            self.num_labelled += 1
            self.accuracy.add_frame(mask, label, age=age)
            self.accuracy.add_video_frame(mask, label)
            if (known := label < self.num_classes).any():
                found['accuracy'] = float((mask == label)[known].mean())
        if mask is None or reference is None:
            self.fidelity.end_clip()
        else:
            self.num_compared += 1
            self.fidelity.add_frame(mask, reference, age=age)
            self.fidelity.add_video_frame(mask, reference)
            found['agreement'] = float((mask == reference).mean())
        shown = {'': mask, 'reference_': reference, 'label_': label}
        for name, new in shown.items():
            old = self._before.get(name)
            if old is not None and new is not None and old.shape == new.shape:
                found[f'{name}changed'] = float((old != new).mean())
        self._before = shown
        return found

    def end(self) -> None:
        """Say that the run is over."""
        self.accuracy.end_clip()
        self.fidelity.end_clip()
        self._before = {}

    def merge(self, other: RunQuality) -> None:
        """Put the frames of another run behind those of this one; both have ended."""
        self.accuracy.merge(other.accuracy)
        self.fidelity.merge(other.fidelity)
        self.num_labelled += other.num_labelled
        self.num_compared += other.num_compared
        self.num_unfit_labels += other.num_unfit_labels
        if other.streaming is not None:
            if self.streaming is None:
                self.streaming = ConfusionMatrix(self.num_classes)
            self.streaming.merge(other.streaming)

    def accuracy_figures(self, class_names: Sequence[str]) -> dict[str, Any] | None:
        """Against labels; fractions in [0, 1], None without a label."""
        if not self.num_labelled:
            return None
        streaming = None if self.streaming is None else or_none(self.streaming.miou('ignore'))
        figures = _figures(self.accuracy, class_names)
        return figures | {
            'streaming_miou': streaming,
            'labelled_frames': self.num_labelled,
            'labels_of_another_size': self.num_unfit_labels,
        }

    def fidelity_figures(self, class_names: Sequence[str]) -> dict[str, Any] | None:
        """Against the per-frame network; fractions in [0, 1], None where it was not run."""
        if not self.num_compared:
            return None
        return _figures(self.fidelity, class_names) | {'compared_frames': self.num_compared}


def _figures(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Figures over the classes that what was compared with has: a drive shows few of them."""
    pooled = scores.pooled()
    values = scores.values(class_names)
    return {
        'miou': or_none(pooled.miou('ignore')),
        'wiou': or_none(pooled.wiou()),
        'pixel_accuracy': _pixel_accuracy(pooled),
        'miou_key': _miou_of(scores, range(1)),
        'miou_nonkey': _miou_of(scores, range(1, sys.maxsize)),
        'mvc8': values['mvc8'],
        'mvc16': values['mvc16'],
        'by_age': [
            {
                'age': row['age'],
                'miou': _miou_of(scores, (row['age'],)),
                'pixel_accuracy': _pixel_accuracy(scores.pooled(ages=(row['age'],))),
                'frames': row['frames'],
            }
            for row in scores.by_age()
        ],
        'iou': iou_by_class(pooled, class_names),
    }


def _miou_of(scores: Scores, ages: Any) -> float | None:
    return or_none(scores.pooled(ages=ages).miou('ignore'))


def _pixel_accuracy(confusion: ConfusionMatrix) -> float | None:
    total = int(confusion.label_pixels().sum())
    return float(np.trace(confusion.counts)) / total if total else None
