"""`Reliability`: whether a confidence of .8 is right in 80 % of the cases.

Shapes: H W image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15


class Reliability:
    """Pixels by confidence: how many there are, how sure the network was, how often it was right.

    The expected calibration error of Guo et al., "On Calibration of Modern Neural Networks", 2017,
    over all pixels of all frames.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(NUM_BINS, np.int64)
        """Pixels, by bin of equal width."""
        self._right: NDArray[np.int64] = np.zeros(NUM_BINS, np.int64)
        self._confidence: NDArray[np.float64] = np.zeros(NUM_BINS)

    def update(
        self,
        prediction: NDArray[np.integer],
        confidence: NDArray[np.float32],
        label: NDArray[np.integer],
        num_classes: int,
    ) -> None:
        """Count one frame.

        Args:
            prediction: Class ids, (H, W).
            confidence: Of each, (H, W), in [0, 1].
            label: Class ids, (H, W); pixels outside 0 to K-1 are not counted.
            num_classes: K.
        """
        inside = (label >= 0) & (label < num_classes)
        sure = confidence[inside].astype(np.float64)
        bins = np.minimum((sure * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        is_right = prediction[inside] == label[inside]
        self.counts += np.bincount(bins, minlength=NUM_BINS)
        self._right += np.bincount(bins[is_right], minlength=NUM_BINS)
        self._confidence += np.bincount(bins, sure, minlength=NUM_BINS)

    def merge(self, other: Reliability) -> None:
        """Add the pixels of another one."""
        self.counts += other.counts
        self._right += other._right
        self._confidence += other._confidence

    def error(self) -> float:
        """Expected calibration error in [0, 1]; nan before any pixel.

        The mean over pixels of how far their bin's confidence is from its share of right ones.
        """
        total = int(self.counts.sum())
        return float(np.abs(self._confidence - self._right).sum() / total) if total else np.nan
