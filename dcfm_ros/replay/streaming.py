"""Streaming accuracy: each label against the mask that a live user would have by then.

See `training.evaluation.streaming`; frames arrive at their header stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.recording import Recording
from dcfm_ros.training.evaluation.streaming import newest_by, publish


def score_streaming(
    recording: Recording,
    engine: SegmentationEngine,
    stamps_ns: Sequence[int],
    frame_ms: Callable[[FrameResult], float],
    quality: RunQuality,
) -> str:
    """Replay a recording again, in simulated time.

    Args:
        recording: Read twice more: for the frames that get processed, and for all labels.
        engine: Its stream is reset.
        stamps_ns: Of all frames.
        frame_ms: How long a frame takes.
        quality: Gets the labels and masks.

    Returns:
        Why nothing is scored: the stamps do not rise, so that they do not tell when frames came;
        '' if it is.
    """
    if any(later <= earlier for earlier, later in pairwise(stamps_ns)):
        return 'no streaming accuracy: the stamps do not rise from frame to frame'
    numbered = enumerate(recording.frames())

    def process(index: int) -> tuple[NDArray[np.uint8], int]:
        image = next(frame.image for number, frame in numbered if number == index)
        result = engine.step(image, stamps_ns[index])
        return result.mask, round(frame_ms(result) * 1e6)

    engine.reset()
    shown = newest_by(stamps_ns, publish(stamps_ns, process))
    for frame, newest in zip(recording.frames(), shown, strict=True):
        quality.add_shown(newest.mask if newest else None, frame.label, frame.image.shape[:2])
    return ''
