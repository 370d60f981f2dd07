"""Accuracy on labels of another taxonomy, counted in the classes and sets of it.

Shapes: H W image, K classes, S sets of them, E entries of the label files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.metrics import ConfusionMatrix

Image = NDArray[np.uint8]


class CoarseScores:
    """Counts masks of the K classes against labels whose entries are classes or sets of them.

    On a pixel of an entry, any of its classes is right. Any other class counts as the first entry
    of the file that has it, and as a miss if none has.
    """

    def __init__(self, labels: LabelSet) -> None:
        """Count nothing yet; `labels` are what the files hold."""
        entries, self._num_classes = labels.entries, labels.num_classes
        self.names = tuple(map(labels.entry_name, entries))
        """Of the E entries."""
        self.confusion = ConfusionMatrix(len(entries))
        """Their counts."""
        ids = [(index,) for index in range(labels.num_classes)] + list(labels.sets)
        self._entry_of_id = np.full(256, UNLABELLED, np.uint8)
        self._entry_of_mask = np.full((256, labels.num_classes + 1), UNLABELLED, np.uint8)
        """By the entry of the label and the class of the mask; the last class is none."""
        for number, classes in reversed(list(enumerate(entries))):
            self._entry_of_id[ids.index(classes)] = number
            self._entry_of_mask[:, list(classes)] = number
        for number, classes in enumerate(entries):
            self._entry_of_mask[number, list(classes)] = number

    def update(self, mask: Image, label: Image) -> None:
        """Count a frame: class ids and label ids, (H, W) both."""
        entry = self._entry_of_id[label]
        seen = self._entry_of_mask[entry, np.minimum(mask, self._num_classes)]
        self.confusion.update(seen, entry)

    def merge(self, other: CoarseScores) -> None:
        """Add the frames of another one of the same labels."""
        self.confusion.merge(other.confusion)
