"""mIoU and wIoU from one confusion matrix, video consistency (VC, paper Eq. 13) from windows.

Shapes: N frames of a clip, K classes, H W image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.integer]

EPS = 1e-15
"""Added to every union, as the paper's code does; keeps an absent class at IoU 0."""


class ConfusionMatrix:
    """Pixel counts over all frames that were given, and what follows from them.

    Counting first and dividing once at the end is what makes this the mIoU of a dataset, not a
    mean over images.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise ValueError(f'`num_classes` must be at least 1, got {num_classes}')
        self.num_classes = num_classes
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        """Rows are predictions, columns are labels."""
        self._missed: NDArray[np.int64] = np.zeros(num_classes, np.int64)

    def update(self, prediction: Mask, label: Mask) -> None:
        """Count one frame.

        Args:
            prediction: Class ids, (H, W), 0 to K-1; a pixel outside (255, unlabelled) where the
                label has a class counts as a miss of that class.
            label: Class ids, (H, W); pixels outside 0 to K-1 are not counted.

        Raises:
            ValueError: If the shapes differ.
        """
        _check_shapes(prediction, label)
        k = self.num_classes
        inside = (label >= 0) & (label < k)
        rows = prediction[inside].astype(np.int64)
        columns = label[inside].astype(np.int64)
        # One extra row collects predictions without a class; it only lengthens the unions.
        rows[(rows < 0) | (rows >= k)] = k
        counts = np.bincount(rows * k + columns, minlength=(k + 1) * k).reshape(k + 1, k)
        self.counts += counts[:k]
        self._missed += counts[k]

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix of as many classes.

        Raises:
            ValueError: If it has others.
        """
        if other.num_classes != self.num_classes:  # a single class would be added to all
            raise ValueError(
                f'`other` must have {self.num_classes} classes, got {other.num_classes}'
            )
        self.counts += other.counts
        self._missed += other._missed

    def label_pixels(self) -> NDArray[np.int64]:
        """Labelled pixels per class, (K,)."""
        return self.counts.sum(axis=0) + self._missed

    def union_pixels(self) -> NDArray[np.int64]:
        """Pixels per class that its label or its prediction covers, (K,)."""
        return self.label_pixels() + self.counts.sum(axis=1) - np.diag(self.counts)

    def iou_per_class(self) -> NDArray[np.float64]:
        """Intersection over union per class, (K,); 0 where neither label nor prediction has it."""
        return np.diag(self.counts) / (self.union_pixels() + EPS)

    def miou(self, absent: str = 'zero') -> float:
        """Mean IoU over classes; nan before any pixel.

        Args:
            absent: 'zero' divides by K whatever was labelled (the paper's code); 'ignore' leaves
                out classes that no label has (the VSPW evaluator).

        Raises:
            ValueError: If `absent` is neither.
        """
        if absent not in ('zero', 'ignore'):
            raise ValueError(f"`absent` must be 'zero' or 'ignore', got {absent!r}")
        is_labelled = self.label_pixels() > 0
        if not is_labelled.any():
            return float('nan')
        iou = self.iou_per_class()
        return float((iou if absent == 'zero' else iou[is_labelled]).mean())

    def wiou(self) -> float:
        """IoU weighted by each class's share of the labelled pixels; nan before any pixel."""
        pixels = self.label_pixels()
        total = int(pixels.sum())
        return float((pixels / total) @ self.iou_per_class()) if total else float('nan')

    def mean_accuracy(self) -> float:
        """Mean recall over classes; a class that no label has counts 0; nan before any pixel."""
        pixels = self.label_pixels()
        recall = np.diag(self.counts) / (pixels + EPS)
        return float(recall.mean()) if pixels.any() else float('nan')


class VideoConsistency:
    """VC over windows of consecutive frames.

    Of the pixels whose label stands still, the share whose prediction does too, right or not.
    Void pixels count: 255 that stays 255 stands still, and so does a set of classes that stays. A
    window without a still pixel is skipped.
    """

    def __init__(self, window: int, form: str = 'official') -> None:
        """Start without a clip.

        Args:
            window: Frames per window, at least 2.
            form: 'official' pools all windows of all clips and leaves out each clip's last one
                (N - window windows; what VSPW and the paper's code report); 'paper' uses all
                N - window + 1 and takes the mean per clip, then over clips (Eq. 13).

        Raises:
            ValueError: If either is not allowed.
        """
        if window < 2:
            raise ValueError(f'`window` must be at least 2, got {window}')
        if form not in ('official', 'paper'):
            raise ValueError(f"`form` must be 'official' or 'paper', got {form!r}")
        self.window = window
        self.form = form
        # The official last window is left out, so a window waits for the frame that follows it.
        self._recent: deque[tuple[Mask, Mask]] = deque(maxlen=window + (form == 'official'))
        self._values: list[float] = []  # of the clip that is being taken in
        self._clips: list[list[float]] = []

    def add_frame(self, prediction: Mask, label: Mask) -> None:
        """Take in the next frame of a clip; both (H, W), kept for a window's length.

        A frame of another size than the one before starts a new clip.

        Raises:
            ValueError: If the shapes differ.
        """
        _check_shapes(prediction, label)
        if self._recent and self._recent[-1][1].shape != label.shape:
            self.end_clip()
        self._recent.append((prediction, label))
        if len(self._recent) != self._recent.maxlen:
            return
        predictions, labels = zip(*islice(self._recent, self.window), strict=True)
        still_label = _still(labels)
        still = still_label & _still(predictions)
        if pixels := int(np.count_nonzero(still_label)):
            # The official script adds it against division by zero; Eq. 13 has none.
            eps = 1e-8 if self.form == 'official' else 0.0
            self._values.append(int(np.count_nonzero(still)) / (pixels + eps))

    def end_clip(self) -> None:
        """Say that the next frame is another clip's."""
        if self._values:
            self._clips.append(self._values)
        self._values = []
        self._recent.clear()

    def merge(self, other: VideoConsistency) -> None:
        """Put the clips of another one, of the same window and form, behind those of this one.

        Raises:
            ValueError: If they are not of the same.
        """
        own, others = (self.window, self.form), (other.window, other.form)
        if own != others:
            raise ValueError(f'`other` must have window and form {own}, got {others}')
        self._clips += other._clips

    def value(self) -> float:
        """VC in [0, 1]; nan where no clip was long enough."""
        if not self._clips:
            return float('nan')
        if self.form == 'paper':
            return float(np.mean([np.mean(values) for values in self._clips]))
        return float(np.mean(np.concatenate(self._clips)))


def _still(masks: Sequence[Mask]) -> NDArray[np.bool_]:
    """Pixels whose value is the same in all masks, (H, W)."""
    still = np.ones(masks[0].shape, np.bool_)
    for mask in masks[1:]:
        still &= mask == masks[0]
    return still


def _check_shapes(prediction: Mask, label: Mask) -> None:
    if prediction.shape != label.shape or label.ndim != 2:
        msg = f'got {prediction.shape} and {label.shape}'
        raise ValueError(f'`prediction` and `label` must share one shape (H, W), {msg}')
