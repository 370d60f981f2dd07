"""How far two ways of computing a network agree."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

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
