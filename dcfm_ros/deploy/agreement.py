"""How far two ways of computing a network agree."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.recordings.frame import SourceFrame


def compare_masks(
    engine: SegmentationEngine, other: SegmentationEngine, frames: Iterable[SourceFrame]
) -> tuple[float, int]:
    """Segment a stream with two engines that have the same classes.

    Returns:
        Share of the pixels to which both give the same class, and the number of frames.

    Raises:
        ValueError: If there is no frame.
    """
    num_equal, num_pixels, num_frames = 0, 0, 0
    for frame in frames:
        mask, other_mask = (e.step(frame.image, frame.stamp_ns).mask for e in (engine, other))
        num_equal += int(np.count_nonzero(mask == other_mask))
        num_pixels += mask.size
        num_frames += 1
    if not num_frames:
        raise ValueError('the input has no frame')
    return num_equal / num_pixels, num_frames


def count_pairs(
    engine: SegmentationEngine, other: SegmentationEngine, frames: Iterable[SourceFrame]
) -> NDArray[np.int64]:
    """Pixels of a stream by the class that each of two engines gives them, (K, K)."""
    num_classes = engine.net.config.num_classes
    pairs = np.zeros(num_classes**2, np.int64)
    for frame in frames:
        mask, other_mask = (e.step(frame.image, frame.stamp_ns).mask for e in (engine, other))
        both = mask.ravel().astype(np.int64) * num_classes + other_mask.ravel()
        pairs += np.bincount(both, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def equal_share(pairs: NDArray[np.int64]) -> float:
    """Share of the pixels to which both give the same class."""
    return float(np.trace(pairs) / pairs.sum())


def class_iou(pairs: NDArray[np.int64]) -> tuple[float | None, ...]:
    """Of each class, what both gave it of what either gave it; None: neither did."""
    common = np.diag(pairs)
    either = pairs.sum(0) + pairs.sum(1) - common
    return tuple(float(c / e) if e else None for c, e in zip(common, either, strict=True))
