"""Streaming accuracy of a bag: every label is met by the mask that a live user would see by then.

See `training.evaluation.streaming`; frames come when their header stamps say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.images.compressed import png_to_mask
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.replay.recorder import FrameEntry
from dcfm_ros.training.evaluation.streaming import newest_by, publish
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]


def score_streaming(
    reader: BagReader,
    engine: SegmentationEngine,
    labels: Sequence[bytes | None],
    frames: Sequence[FrameEntry],
    frame_ms: Callable[[FrameResult], float],
    num_classes: int,
) -> ConfusionMatrix | None:
    """Play a bag again, in simulated time.

    Args:
        reader: The bag; read once more.
        engine: Its stream is reset.
        labels: PNG of each frame's label, or None.
        frames: What the first pass made of the same frames.
        frame_ms: How long a frame takes.
        num_classes: K.

    Returns:
        Counts of masks and labels; None without labels, or where stamps go back.
    """
    arrivals_ns = [frame.stamp_ns for frame in frames]
    if not any(labels) or any(b <= a for a, b in pairwise(arrivals_ns)):
        return None
    confusion = ConfusionMatrix(num_classes)
    numbered = enumerate(reader.frames())

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
