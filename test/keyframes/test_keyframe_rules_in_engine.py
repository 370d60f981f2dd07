"""The rules of a keyframe that need the engine's clock, features or masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_net import make_images, make_net, to_tensor
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.adaptive_schedule import (
    AdaptiveScheduler,
    change_score,
    digest,
    feature_change,
)
from dcfm_ros.keyframes.schedule import FixedScheduler
from dcfm_ros.masks.class_mask import mean_confidence

SECOND = 10**9


def make_engine(schedule=1000, **options):
    return SegmentationEngine(
        make_net(), device='cpu', backend='torch', schedule=schedule, **options
    )


def run(engine, images, stamps_s=None):
    stamps_s = range(len(images)) if stamps_s is None else stamps_s
    return [engine.step(i, round(s * SECOND)) for i, s in zip(images, stamps_s, strict=True)]


def reasons(results):
    return [result.reason for result in results]


def drifting_images(levels):
    base = np.random.default_rng(0).integers(0, 100, (67, 91, 3))
    return [(base + level).astype(np.uint8) for level in levels]


@torch.no_grad()
def feature_scores(net, images, keyframes):
    digests = [digest(net.encode_independent(to_tensor(image)).feature) for image in images]
    return [feature_change(own, digests[k]) for own, k in zip(digests, keyframes, strict=True)]


def test_feature_score_of_the_stream_is_that_of_the_independent_features():
    images = drifting_images([0, 5, 10, 60, 70, 150, 150])
    net = make_net()
    from_first = feature_scores(net, images, [0] * 7)
    threshold = (from_first[2] + from_first[3]) / 2
    engine = make_engine(AdaptiveScheduler(threshold, score='feature'))
    results = run(engine, images)
    assert reasons(results)[:4] == ['first', '', '', 'change']
    assert [r.change_score for r in results[1:4]] == pytest.approx(from_first[1:4], rel=1e-3)


def test_clip_of_features_in_the_past_mode_equals_the_stream():
    images = drifting_images([0, 5, 10, 60, 70, 150, 150])
    net = make_net()
    threshold = feature_scores(net, images, [0] * 7)[3]
    engine = make_engine(AdaptiveScheduler(0.9 * threshold, score='feature'))
    stream = run(engine, images)
    clip = list(engine.segment_clip(images, mode='past'))
    assert reasons(clip)[:-1] == reasons(stream)[:-1]
    assert 'change' in reasons(stream)
    np.testing.assert_array_equal([r.change_score for r in clip], [r.change_score for r in stream])
    np.testing.assert_array_equal([r.mask for r in clip][:-1], [r.mask for r in stream][:-1])


def test_gap_in_the_stamps_makes_a_keyframe():
    engine = make_engine()
    engine.max_time_gap_s = 1.0
    results = run(engine, make_images(5), [0, 1, 2.001, 2.1, 9])
    assert reasons(results) == ['first', '', 'time_gap', '', 'time_gap']
    assert [r.keyframe_age for r in results] == [0, 1, 0, 1, 0]


def test_stamps_may_lie_apart_where_no_gap_is_named():
    assert reasons(run(make_engine(), make_images(3), [0, 60, 7200])) == ['first', '', '']


def test_amortised_keyframe_after_a_gap_does_not_wait():
    engine = make_engine(execution='amortised', slices=4)
    engine.max_time_gap_s = 1.0
    results = run(engine, make_images(3), [0, 0.1, 5])
    assert [r.keyframe_age for r in results] == [0, 1, 0]


def test_feature_gets_no_older_than_its_limit_in_seconds():
    engine = make_engine()
    engine.max_age_s = 0.3
    results = run(engine, make_images(7), [0, 0.1, 0.3, 0.31, 0.6, 0.61, 0.62])
    assert reasons(results) == ['first', '', '', 'max_age', '', '', 'max_age']
    assert max(r.feature_age_ms for r in results) <= 300


def test_amortised_frame_finishes_a_feature_that_is_too_late():
    engine = make_engine(4, execution='amortised')
    engine.max_age_s = 0.55
    results = run(engine, make_images(8), [i / 10 for i in range(8)])
    # The keyframe of frame 4 would be done at 7; frame 6 cannot use that of 0 any more.
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3, 4, 5, 2, 3]


def test_limits_can_be_changed_between_two_frames():
    engine = make_engine(max_age=1)
    images = make_images(6)
    assert reasons(run(engine, images[:3])) == ['first', '', 'max_age']
    engine.max_age = None
    assert reasons(run(engine, images, range(3, 9))) == [''] * 6


def test_lost_frames_count_in_the_longest_interval():
    schedule = FixedScheduler(4, max_interval_s=0.5)
    stamps = [0, 0.1, 0.2, 0.3, 0.4, 0.8, 0.9, 1.0]
    expected = ['first', '', '', '', 'interval', '', 'max_interval', '']
    assert reasons(run(make_engine(schedule), make_images(8), stamps)) == expected


def test_another_threshold_is_compared_with_the_same_keyframe():
    images = drifting_images([0, 40, 40])
    engine = make_engine(AdaptiveScheduler(9.0))
    run(engine, images[:2])
    engine.use_schedule(AdaptiveScheduler(0.1))
    result = engine.step(images[2], 2 * SECOND)
    assert (result.reason, result.change_score) == ('change', change_score(images[2], images[0]))


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (FixedScheduler(100), AdaptiveScheduler(9.0)),
        (AdaptiveScheduler(9.0), AdaptiveScheduler(9.0, score='feature')),
    ],
)
def test_another_kind_of_schedule_begins_with_a_keyframe(before, after):
    images = make_images(4)
    engine = make_engine(before)
    run(engine, images[:2])
    engine.use_schedule(after)
    results = run(engine, images[2:], [2, 3])
    assert reasons(results) == ['change', '']
    assert math.isnan(results[0].change_score)
    assert results[1].change_score < 9


def test_another_interval_counts_from_the_same_keyframe():
    images = make_images(6)
    engine = make_engine(AdaptiveScheduler(9.0))
    run(engine, images[:3])
    engine.use_schedule(FixedScheduler(4))
    assert reasons(run(engine, images[3:], range(3, 6))) == ['', 'interval', '']


def test_schedule_given_to_two_engines_is_not_shared():
    schedule = AdaptiveScheduler(9.0)
    engines = [make_engine(), make_engine()]
    for engine, level in zip(engines, (0, 80), strict=True):
        engine.use_schedule(schedule)
        engine.step(drifting_images([level])[0], 0)
    scores = [engine.step(drifting_images([0])[0], SECOND).change_score for engine in engines]
    assert scores[0] == 0
    assert scores[1] > 1


@pytest.mark.parametrize('options', [{}, {'execution': 'amortised', 'slices': 3}])
def test_keyframe_after_the_mask_that_fell_in_confidence(options):
    images = [*make_images(4), *drifting_images([0, 0, 0, 0])]
    known = run(make_engine(1000, **options), images)
    confidences = [mean_confidence(result.logits) for result in known]
    drops = [confidences[0] - value for value in confidences]
    fallen = int(np.argmax(drops))
    limit = (sorted(drops)[-1] + max(d for d in drops if d < drops[fallen])) / 2
    assert 0 < limit < drops[fallen]
    assert fallen < len(images) - 1
    engine = make_engine(AdaptiveScheduler(99.0, confidence_drop=limit), **options)
    results = run(engine, images)
    assert reasons(results)[: fallen + 2] == ['first', *[''] * fallen, 'confidence']


def test_confidence_is_not_measured_where_nobody_asks(monkeypatch):
    def fail(logits):
        raise AssertionError

    monkeypatch.setattr('dcfm_ros.keyframes.stream.mean_confidence', fail)
    run(make_engine(AdaptiveScheduler(0.5)), make_images(2))
    with pytest.raises(AssertionError):
        run(make_engine(AdaptiveScheduler(0.5, confidence_drop=0.1)), make_images(1))
