"""Streaming accuracy: each label against the mask that a live user would have by then.

See `training.evaluation.streaming`; frames arrive at their header stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.masks.png import png_to_mask
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.recording import Recording
from dcfm_ros.training.evaluation.streaming import newest_by, publish
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]


def score_streaming(
    recording: Recording,
    engine: SegmentationEngine,
    labels: Sequence[bytes | None],
    frames: Sequence[ReplayedFrame],
    frame_ms: Callable[[FrameResult], float],
    num_classes: int,
) -> ConfusionMatrix | None:
    """Replay a recording again, in simulated time.

    Args:
        recording: Read once more.
        engine: Its stream is reset.
        labels: PNG of each frame's label, or None.
        frames: What the first pass made of the same frames.
        frame_ms: How long a frame takes.
        num_classes: K.

    Returns:
        Counts of masks and labels; None without labels, or if stamps go back.
    """
    arrivals_ns = [frame.stamp_ns for frame in frames]
    if not any(labels) or any(b <= a for a, b in pairwise(arrivals_ns)):
        return None
    confusion = ConfusionMatrix(num_classes)
    numbered = enumerate(recording.frames())

    def process(index: int) -> tuple[Mask, int]:
        image = next(frame.image for number, frame in numbered if number == index)
        result = engine.step(image, arrivals_ns[index])
        return result.mask, round(frame_ms(result) * 1e6)

    engine.reset()
    for data, shown in zip(
        labels, newest_by(arrivals_ns, publish(arrivals_ns, process)), strict=True
    ):
        if data is None:
            continue
        label = png_to_mask(data)
        fits = shown is not None and shown.mask.shape == label.shape
        nothing = np.full(label.shape, UNLABELLED, np.uint8)  # every labelled pixel is missed
        confusion.update(shown.mask if shown is not None and fits else nothing, label)
    return confusion
