from __future__ import annotations

import numpy as np
from small_net import make_net
from small_recording import SIZE, TORCH, make_frames, open_bag, replayed

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.statistics import stamp_statistics
from dcfm_ros.replay.streaming import score_streaming
from dcfm_ros.training.metrics import ConfusionMatrix


def test_streaming_accuracy_needs_rising_stamps(small_bag):
    frames = [replayed(0.0), replayed(0.2), replayed(0.1)]
    nothing = SegmentationEngine(make_net(), TORCH)
    quality = RunQuality(11)
    stamps = [frame.stamp_ns for frame in frames]
    reason = score_streaming(open_bag(small_bag), nothing, stamps, lambda _: 1.0, quality)
    assert reason.startswith('no streaming accuracy: the stamps do not rise')
    assert quality.streaming is None
    assert stamp_statistics([frames])['steps_back'] == 1


def test_engine_that_keeps_pace_streams_the_mask_of_the_frame_before(small_bag, weights):
    """A frame takes 30 ms of the 100 until the next: a label is met by the mask before it."""
    engine = SegmentationEngine(make_net(), TORCH, ScheduleOptions(keyframe_interval=1))
    frames = list(make_frames())
    masks = [engine.step(frame.image, frame.stamp_ns).mask for frame in frames]
    expected = ConfusionMatrix(11)
    for shown, frame in zip([np.full(SIZE, 255, np.uint8), *masks], frames, strict=False):
        expected.update(shown, frame.label)
    quality, stamps = RunQuality(11), [frame.stamp_ns for frame in frames]
    assert score_streaming(open_bag(small_bag), engine, stamps, lambda _: 30.0, quality) == ''
    np.testing.assert_array_equal(quality.streaming.counts, expected.counts)
    assert quality.streaming.miou('ignore') == expected.miou('ignore')
