from __future__ import annotations

import cv2
import numpy as np
import pytest
from settings import cpu_engine
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.frame_times import FrameTimes
from dcfm_ros.training.evaluation.streaming import newest_by, publish, score_stream
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import CAMVID
from dcfm_ros.training.metrics import ConfusionMatrix

MS = 10**6


def run(arrivals_ms, spent_ms):
    """What is shown when each frame comes, by number of the frame that it was made of."""
    spent = iter(spent_ms)
    masks = publish([t * MS for t in arrivals_ms], lambda _frame: (None, next(spent) * MS))
    shown = newest_by([t * MS for t in arrivals_ms], masks)
    return [None if mask is None else mask.frame for mask in shown]


@pytest.fixture(scope='module')
def engine():
    torch.manual_seed(0)
    net = DCFM(DCFMConfig(backbone='mit_b0', num_classes=11, fuse_channels=32))
    return cpu_engine(net, 2)


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """Six frames at 10 Hz; frame 1 has no label."""
    folder = tmp_path_factory.mktemp('clip')
    rng = np.random.default_rng(0)
    frames = []
    for index in range(6):
        paths = folder / f'{index}.png', folder / f'{index}_label.png'
        cv2.imwrite(str(paths[0]), rng.integers(0, 256, (32, 48, 3), np.uint8))
        cv2.imwrite(str(paths[1]), rng.integers(0, 12, (32, 48), np.uint8))
        frames.append(Frame(paths[0], None if index == 1 else paths[1]))
    return Clip('clip', tuple(frames), 10.0, CAMVID)


def test_busy_worker_takes_the_newest_frame_and_drops_the_others():
    # 0: 0-250 ms, 2: 250-370, 3: 370-620, 5: 620-740; frames 1 and 4 are replaced.
    masks = publish(
        [t * 100 for t in range(6)], lambda frame: (None, 250 if frame % 3 == 0 else 120)
    )
    assert [(mask.frame, mask.published_ns) for mask in masks] == [
        (0, 250),
        (2, 370),
        (3, 620),
        (5, 740),
    ]


def test_idle_worker_waits_for_the_next_frame():
    masks = publish([0, 100, 200], lambda _frame: (None, 30))
    assert [(mask.frame, mask.published_ns) for mask in masks] == [(0, 30), (1, 130), (2, 230)]


def test_frame_that_comes_as_the_worker_gets_free_is_taken():
    masks = publish([0, 100, 200], lambda _frame: (None, 200))
    assert [mask.frame for mask in masks] == [0, 2]


def test_newest_published_mask_is_shown():
    assert run([0, 100, 200, 300, 400, 500], [250, 120, 250, 120]) == [None, None, None, 0, 2, 2]


def test_mask_published_as_the_frame_comes_is_shown():
    assert run([0, 100, 200], [100, 100, 100]) == [None, 0, 1]
    assert run([0, 100, 200], [0, 0, 0]) == [0, 1, 2]


def test_nothing_is_segmented_before_it_is_needed():
    begun = []
    masks = publish([0, 100, 200], lambda frame: (begun.append(frame), 30))
    shown = newest_by([0, 100, 200], masks)
    next(shown)
    assert begun == [0]


def test_labels_meet_the_mask_that_was_published_by_then(engine, clip):
    # Key 250 ms, others 120: as in the first test, for the interval counts processed frames.
    scores = score_stream(engine, clip, FrameTimes(250, 120).of)
    engine.reset()
    images = [cv2.imread(str(frame.image), cv2.IMREAD_COLOR_RGB) for frame in clip.frames]
    results = {frame: engine.step(images[frame], frame) for frame in (0, 2, 3, 5)}
    assert [results[frame].is_keyframe for frame in (0, 2, 3, 5)] == [True, False, True, False]
    confusion = ConfusionMatrix(11)
    for index, shown in ((0, None), (2, None), (3, 0), (4, 2), (5, 2)):
        label = cv2.imread(str(clip.frames[index].label), cv2.IMREAD_UNCHANGED)
        nothing = np.full_like(label, 255)
        confusion.update(nothing if shown is None else results[shown].mask, label)
    assert scores.values() == {
        'streaming_miou': pytest.approx(confusion.miou(), abs=1e-12),
        'streaming_age_ms': pytest.approx((300 + 200 + 300) / 3, abs=1e-3),
        'streaming_processed': 4,
        'streaming_dropped': 2,
    }


def test_measured_times_are_those_of_the_engine(engine, clip, monkeypatch):
    step = SegmentationEngine.step

    def slow_step(self, image, stamp_ns):
        result = step(self, image, stamp_ns)
        result.stage_ms = {'independent': 120.0}
        if result.is_keyframe:
            result.stage_ms['common'] = 130.0
        return result

    monkeypatch.setattr(SegmentationEngine, 'step', slow_step)
    measured = score_stream(engine, clip).values()
    assert measured == score_stream(engine, clip, FrameTimes(250, 120).of).values()


def test_frames_after_the_last_label_are_left_out(engine, clip):
    cut = Clip('cut', (*clip.frames[:3], Frame(clip.frames[3].image)), 10.0, CAMVID)
    values = score_stream(engine, cut, FrameTimes(10, 10).of).values()
    assert values['streaming_processed'] == 3


def test_merged_clips_are_pooled(engine, clip):
    times = FrameTimes(250, 120).of
    once, twice = (score_stream(engine, clip, times) for _ in range(2))
    twice.merge(once)
    expected = once.values() | {'streaming_processed': 8, 'streaming_dropped': 4}
    assert twice.values() == pytest.approx(expected)


def test_times_below_0_are_refused():
    with pytest.raises(ValueError, match=r'`nonkey_ms` must be at least 0, got -1'):
        FrameTimes(1, -1)
