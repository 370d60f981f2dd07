"""Merges hand-made labels of a coarse taxonomy with those of a network trained on finer ones.

A hand-made label that is a set of classes says for sure what a pixel may be; the network, the
teacher, says what it takes it for. Where the two agree the pixel gets the teacher's class,
elsewhere it stays the set. Shapes: H W image, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.footage.label_sets import LabelSet

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """Whose label a pixel gets, and the size of what is written."""

    min_confidence: float = 0.5
    """Probability from which on the teacher's class is taken where the hand-made label is a set
    that has it, in [0, 1]; 0: always, and no confidence is read."""
    fill_confidence: float | None = None
    """The same where there is no hand-made label, and so nothing to contradict the teacher; None:
    never."""
    height: int = 0
    """Rows of the stills; 0: those of the images, whose files are copied as they are."""

    def __post_init__(self) -> None:
        for name in ('min_confidence', 'fill_confidence'):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f'`{name}` must be in [0, 1], got {value}')
        if self.height < 0:
            raise ValueError(f'`height` must be at least 0, got {self.height}')

    @property
    def needs_confidence(self) -> bool:
        """Whether anything depends on how sure the teacher is."""
        return self.min_confidence > 0 or bool(self.fill_confidence)


class LabelMerger:
    """Merges labels pixel by pixel, and counts whose were taken."""

    def __init__(self, hand_made: LabelSet, teacher: LabelSet, options: MergeOptions) -> None:
        """Prepare tables.

        Args:
            hand_made: What the hand-made labels hold.
            teacher: What the teacher's labels hold, in the same classes (see `mapped`).
            options: From which confidence on the teacher is taken.
        """
        self._labels = hand_made
        self._options = options
        self._agrees = np.zeros((256, 256), np.bool_)
        """By the id of the hand-made label and that of the teacher, as the next two."""
        self._merged = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, axis=1)
        self._pixels = np.zeros((256, 256), np.int64)
        self._filled = 0
        for own_id, own in classes_by_id(hand_made).items():
            for other_id, other in classes_by_id(teacher).items():
                common = sorted({*own} & {*other})
                self._agrees[own_id, other_id] = bool(common)
                if len(common) == 1:
                    self._merged[own_id, other_id] = common[0]

    def merge(self, hand_made: Image, teacher: Image, confidence: Image | None) -> Image:
        """Merge the labels of a frame.

        Args:
            hand_made: Ids, (H, W); 255 = unlabelled.
            teacher: Ids, (H, W); 255 = none.
            confidence: 256 times the teacher's probability, at most 255, (H, W); None: it is sure.

        Returns:
            Ids of the hand-made labels, (H, W).
        """
        if confidence is None:
            confidence = np.full(hand_made.shape, 255, np.uint8)
        is_sure = confidence >= _least(self._options.min_confidence)
        sure = np.where(is_sure, teacher, UNLABELLED)
        places = hand_made.astype(np.int64) * 256 + sure
        self._pixels += np.bincount(places.ravel(), minlength=256 * 256).reshape(256, 256)
        merged = self._merged[hand_made, sure]
        if (least := self._options.fill_confidence) is not None:
            is_void = (hand_made == UNLABELLED) & (teacher < self._labels.num_classes)
            is_filled = is_void & (confidence >= _least(least))
            merged[is_filled] = teacher[is_filled]
            self._filled += int(np.count_nonzero(is_filled))
        return merged

    def shares(self) -> dict[str, Any]:
        """How often the teacher was taken, by entry of the label files; None where undefined."""
        pixels, num_classes = self._pixels, self._labels.num_classes
        entries = {}
        for own_id, classes in classes_by_id(self._labels).items():
            if classes not in self._labels.entries:
                continue
            own = pixels[own_id]
            total, agreed = int(own.sum()), int(own[self._agrees[own_id]].sum())
            unsure = int(own[UNLABELLED])
            counts = {'agrees': agreed, 'unsure': unsure, 'differs': total - agreed - unsure}
            entries[self._labels.entry_name(classes)] = {
                'share': _share(total, int(pixels.sum())),
                **{name: _share(count, total) for name, count in counts.items()},
                'taken': {
                    self._labels.class_names[index]: _share(
                        int(own[self._merged[own_id] == index].sum()), total
                    )
                    for index in (classes if own_id >= num_classes else ())
                },
            }
        of_sets = pixels[num_classes:UNLABELLED]
        taken = int(of_sets[self._merged[num_classes:UNLABELLED] < num_classes].sum())
        void = int(pixels[UNLABELLED].sum())
        return {
            'taken': _share(taken, int(of_sets.sum())),
            'unlabelled': _share(void, int(pixels.sum())),
            'filled': _share(self._filled, void),
            'entries': entries,
        }


def classes_by_id(labels: LabelSet) -> dict[int, tuple[int, ...]]:
    """The classes that every id of a label stands for, without 255."""
    classes = [(index,) for index in range(labels.num_classes)]
    return dict(enumerate([*classes, *labels.sets]))


def _least(probability: float) -> float:
    """Least confidence that stands for a probability; 255 is all that the surest can have."""
    return min(256 * probability, 255)


def _share(count: int, total: int) -> float | None:
    return count / total if total else None
