from __future__ import annotations

import cv2
import numpy as np
from small_net import make_net
from small_recording import (
    SIZE,
    TORCH,
    make_frames,
    open_bag,
    replayed,
)

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.options import ScheduleOptions
from dcfm_ros.replay.statistics import stamp_statistics
from dcfm_ros.replay.streaming import score_streaming
from dcfm_ros.training.metrics import ConfusionMatrix


def test_streaming_accuracy_needs_rising_stamps(small_bag):
    frames = [replayed(0.0), replayed(0.2), replayed(0.1)]
    nothing = SegmentationEngine(make_net(), TORCH)
    bag = open_bag(small_bag)
    assert score_streaming(bag, nothing, [b'label'] * 3, frames, lambda _: 1.0, 11) is None
    assert stamp_statistics([frames])['steps_back'] == 1


def test_engine_that_keeps_pace_streams_the_mask_of_the_frame_before(small_bag, weights):
    """A frame takes 30 ms of the 100 until the next: a label is met by the mask before it."""
    engine = SegmentationEngine(make_net(), TORCH, ScheduleOptions(keyframe_interval=1))
    frames = list(make_frames())
    masks = [engine.step(frame.image, frame.stamp_ns).mask for frame in frames]
    expected = ConfusionMatrix(11)
    for shown, frame in zip([np.full(SIZE, 255, np.uint8), *masks], frames, strict=False):
        expected.update(shown, frame.label)
    labels = [cv2.imencode('.png', frame.label)[1].tobytes() for frame in frames]
    entries = [replayed(frame.stamp_ns / 1e9) for frame in frames]
    found = score_streaming(open_bag(small_bag), engine, labels, entries, lambda _: 30.0, 11)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.miou('ignore') == expected.miou('ignore')
