"""Masks of a run against labels, against the per-frame network, and against their neighbours.

Shapes: H W image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.evaluation.group_scores import group_figures
from dcfm_ros.training.evaluation.scores import Scores, or_none
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]
_UNKNOWN_AGE = -1
"""Of a feature: such frames are in no figure by age, and in all others."""


class RunQuality:
    """Counts of the frames of a run; those of several runs merge.

    Two comparisons are kept apart: with labels (`accuracy`), and with the masks of the same
    weights run on every frame by itself (`fidelity`), which needs no label.
    """

    def __init__(self, num_classes: int, groups: ClassGroups | None = None) -> None:
        self.num_classes = num_classes
        self.groups = groups
        """Of the classes, in which figures are given as well; None: no groups."""
        self.accuracy = Scores(num_classes)
        self.fidelity = Scores(num_classes)
        self.streaming: ConfusionMatrix | None = None
        """Labels against the mask that a live camera's user would see by then."""
        self.mask_hold = ConfusionMatrix(num_classes)
        """Labels against every keyframe's mask, repeated until the next keyframe."""
        self.num_labelled = 0
        self.num_compared = 0
        """Frames with a mask of the per-frame network."""
        self.num_unfit_labels = 0
        """Labels of another size than their image; not counted."""
        self.label_pixels = np.zeros(256, np.int64)
        """Pixels of every id that the labels hold, classes or not."""
        self._before: dict[str, Mask | None] = {}
        self._is_lost = False
        self._held: Mask | None = None  # None: which frame was a keyframe is not known

    def add(
        self,
        mask: Mask | None,
        *,
        label: Mask | None = None,
        reference: Mask | None = None,
        age: int | None = 0,
        is_keyframe: bool = False,
    ) -> dict[str, float]:
        """Take the next frame of a run.

        Args:
            mask: Class of every pixel, (H, W); None if the frame was dropped.
            label: True classes, (H, W), or None; 255 and ids without a class are not counted.
            reference: Mask of the per-frame network, (H, W), or None.
            age: Of the feature that the mask was made with, frames; None: unknown.
            is_keyframe: Whether the frame is a keyframe; of no meaning without an age.

        Returns:
            Shares of the pixels of this frame, as far as they are defined: 'accuracy' (labelled
            pixels that are right), 'agreement' (with the reference), and 'changed',
            'reference_changed', 'label_changed' (pixels whose class differs from the frame
            before).
        """
        if mask is not None:
            self._hold(mask, is_keyframe=is_keyframe, is_known=age is not None)
        if mask is not None and label is not None and label.shape != mask.shape:
            self.num_unfit_labels += 1
            label = None
        found = {}
        if mask is not None and label is not None:
            self.num_labelled += 1
            self.label_pixels += np.bincount(label.ravel(), minlength=256)
            if self._held is not None:
                self.mask_hold.update(self._held, label)
            if (known := label < self.num_classes).any():
                found['accuracy'] = float((mask == label)[known].mean())
        if mask is not None and reference is not None:
            self.num_compared += 1
            found['agreement'] = float((mask == reference).mean())
        for scores, other in ((self.accuracy, label), (self.fidelity, reference)):
            if mask is None or other is None:
                scores.end_clip()
            else:
                scores.add_frame(mask, other, age=_UNKNOWN_AGE if age is None else age)
                scores.add_video_frame(mask, other)
        shown = {'': mask, 'reference_': reference, 'label_': label}
        for name, new in shown.items():
            old = self._before.get(name)
            if old is not None and new is not None and old.shape == new.shape:
                found[f'{name}changed'] = float((old != new).mean())
        self._before = shown
        return found

    def _hold(self, mask: Mask, *, is_keyframe: bool, is_known: bool) -> None:
        """Keep a keyframe's mask for `mask_hold`, and the first one; others keep what is held."""
        if not is_known:  # it may be a keyframe, so what comes up to the next one is not counted
            self._held, self._is_lost = None, True
        elif is_keyframe or not self._is_lost:
            fits = self._held is not None and self._held.shape == mask.shape
            self._held = self._held if fits and not is_keyframe else mask
            self._is_lost = False

    def add_shown(self, shown: Mask | None, label: Mask | None, size: tuple[int, ...]) -> None:
        """Count the label of a frame for `streaming`, if it has one and that fits.

        Args:
            shown: Mask that a live user saw when the frame came, or None.
            label: True classes, or None; not counted if it has another size than the image.
            size: (H, W) of the image.
        """
        if label is None or label.shape != size:
            return
        if shown is None or shown.shape != label.shape:  # every labelled pixel is missed
            shown = np.full(label.shape, UNLABELLED, np.uint8)
        self.streaming = self.streaming or ConfusionMatrix(self.num_classes)
        self.streaming.update(shown, label)

    def end(self) -> None:
        """End the run: what follows is not compared with what came before."""
        self.accuracy.end_clip()
        self.fidelity.end_clip()
        self._before, self._held, self._is_lost = {}, None, False

    def merge(self, other: RunQuality) -> None:
        """Add the frames of another run; both have ended."""
        self.accuracy.merge(other.accuracy)
        self.fidelity.merge(other.fidelity)
        self.mask_hold.merge(other.mask_hold)
        self.num_labelled += other.num_labelled
        self.num_compared += other.num_compared
        self.num_unfit_labels += other.num_unfit_labels
        self.label_pixels += other.label_pixels
        if other.streaming is not None:
            self.streaming = self.streaming or ConfusionMatrix(self.num_classes)
            self.streaming.merge(other.streaming)

    def accuracy_statistics(self, class_names: Sequence[str]) -> dict[str, Any] | None:
        """Against labels; fractions in [0, 1], None without a label."""
        if not self.num_labelled:
            return None
        streaming = None if self.streaming is None else or_none(self.streaming.miou('ignore'))
        return self._statistics(self.accuracy, class_names) | {
            'mask_hold_miou': or_none(self.mask_hold.miou('ignore')),
            'streaming_miou': streaming,
            'labelled_frames': self.num_labelled,
            'labels_of_another_size': self.num_unfit_labels,
        }

    def fidelity_statistics(self, class_names: Sequence[str]) -> dict[str, Any] | None:
        """Against the per-frame network; fractions in [0, 1], None if it was not run."""
        if not self.num_compared:
            return None
        figures = self._statistics(self.fidelity, class_names)
        return figures | {'compared_frames': self.num_compared}

    def _statistics(self, scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
        figures = _statistics(scores, class_names)
        if self.groups is not None:
            of_groups = group_figures(scores.pooled(), self.groups)
            figures['group_miou'] = of_groups['group_miou_labelled']
            figures['group_iou'] = of_groups['group_iou']
        return figures


def label_notes(quality: RunQuality, class_names: Sequence[str]) -> list[str]:
    """What the accuracy leaves out of the labels, or says less of than it seems to, in words."""
    notes = []
    if quality.num_unfit_labels:
        notes.append(f'{quality.num_unfit_labels} labels of another size than their image')
    pixels = quality.label_pixels
    if not quality.num_labelled:
        return notes
    known = [name for name, count in zip(class_names, pixels, strict=False) if count]
    unknown = [
        f'{index} ({count} pixels)'
        for index, count in enumerate(pixels[:UNLABELLED].tolist())
        if count and index >= len(class_names)
    ]
    if unknown:
        listed = ', '.join(unknown[:8]) + (', ...' if len(unknown) > 8 else '')
        notes.append(f'the labels have ids that are no class of the network: {listed}')
    if not known:
        notes.append('no pixel of any label has a class (255 means ignored): no accuracy')
    elif len(known) == 1 < len(class_names) and pixels[UNLABELLED]:
        notes.append(f'the labels have class {known[0]!r} alone, beside 255, which means ignored')
    return notes


def _statistics(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Means are over the classes that the labels (or the reference) have: a drive has few."""
    values = scores.values(class_names)
    return {
        'miou': values['miou_labelled'],
        'wiou': values['wiou'],
        'pixel_accuracy': _pixel_accuracy(scores.pooled()),
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
            if row['age'] != _UNKNOWN_AGE
        ],
        'iou': values['iou'],
    }


def _miou_of(scores: Scores, ages: Any) -> float | None:
    return or_none(scores.pooled(ages=ages).miou('ignore'))


def _pixel_accuracy(confusion: ConfusionMatrix) -> float | None:
    total = int(confusion.label_pixels().sum())
    return float(np.trace(confusion.counts)) / total if total else None
