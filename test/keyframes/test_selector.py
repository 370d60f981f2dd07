"""Which frames the engine makes keyframes: gaps, age, changes of the schedule, features."""

from __future__ import annotations

from dataclasses import replace
import math

from engines import make_engine, reasons
import numpy as np
import pytest
from small_net import make_images, make_net, to_tensor
import torch

from dcfm_ros.backends.feature_change import feature_change
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.keyframes.adaptive_schedule import change_score
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

SECOND = 10**9
RARE = {'keyframe_interval': 1000, 'max_time_gap_s': 0}


def run(engine, images, stamps_s=None):
    stamps_s = range(len(images)) if stamps_s is None else stamps_s
    return [engine.step(i, round(s * SECOND)) for i, s in zip(images, stamps_s, strict=True)]


def adaptive(threshold, score='image', **options):
    return ScheduleOptions(
        schedule='adaptive', change_threshold=threshold, keyframe_score=score, **options
    )


def drifting_images(levels):
    base = np.random.default_rng(0).integers(0, 100, (67, 91, 3))
    return [(base + level).astype(np.uint8) for level in levels]


@torch.no_grad()
def feature_scores(net, images, keyframes):
    backend = TorchBackend(net, 'cpu')
    digests = [backend.digest(net.encode_independent(to_tensor(image))) for image in images]
    return [feature_change(own, digests[k]) for own, k in zip(digests, keyframes, strict=True)]


def test_feature_score_of_the_stream_is_that_of_the_independent_features():
    images = drifting_images([0, 5, 10, 60, 70, 150, 150])
    net = make_net()
    from_first = feature_scores(net, images, [0] * 7)
    threshold = (from_first[2] + from_first[3]) / 2
    results = run(make_engine(net, schedule='adaptive', change_threshold=threshold), images)
    assert reasons(results)[:4] == ['first', '', '', 'change']
    assert [r.change_score for r in results[1:4]] == pytest.approx(from_first[1:4], rel=1e-3)


def test_clip_of_features_in_the_past_mode_equals_the_stream():
    images = drifting_images([0, 5, 10, 60, 70, 150, 150])
    net = make_net()
    threshold = 0.9 * feature_scores(net, images, [0] * 7)[3]
    engine = make_engine(net, schedule='adaptive', change_threshold=threshold)
    stream = run(engine, images)
    clip = list(engine.segment_clip(images, mode='past'))
    assert reasons(clip)[:-1] == reasons(stream)[:-1]
    assert 'change' in reasons(stream)
    np.testing.assert_array_equal([r.change_score for r in clip], [r.change_score for r in stream])
    np.testing.assert_array_equal([r.mask for r in clip][:-1], [r.mask for r in stream][:-1])


def test_gap_in_the_stamps_makes_a_keyframe():
    engine = make_engine(keyframe_interval=1000, max_time_gap_s=1.0)
    results = run(engine, make_images(5), [0, 1, 2.001, 2.1, 9])
    assert reasons(results) == ['first', '', 'time_gap', '', 'time_gap']
    assert [r.keyframe_age for r in results] == [0, 1, 0, 1, 0]


def test_any_gap_is_allowed_without_a_limit():
    results = run(make_engine(**RARE), make_images(3), [0, 60, 7200])
    assert reasons(results) == ['first', '', '']


def test_time_that_goes_back_makes_one_keyframe():
    results = run(make_engine(**RARE), make_images(4), [5, 4, 4.5, 5.5])
    assert reasons(results) == ['first', 'time_jump', '', '']


def test_amortised_keyframe_after_a_gap_does_not_wait():
    engine = make_engine(keyframe_interval=1000, execution='amortised', execution_slices=4)
    results = run(engine, make_images(3), [0, 0.1, 5])
    assert [r.keyframe_age for r in results] == [0, 1, 0]


def test_feature_never_exceeds_its_maximum_age():
    engine = make_engine(keyframe_interval=1000, max_feature_age_s=0.3)
    results = run(engine, make_images(7), [0, 0.1, 0.3, 0.31, 0.6, 0.61, 0.62])
    assert reasons(results) == ['first', '', '', 'max_age', '', '', 'max_age']
    assert max(r.feature_age_ms for r in results) <= 300


def test_amortised_frame_finishes_a_feature_that_would_be_late():
    engine = make_engine(keyframe_interval=4, execution='amortised', max_feature_age_s=0.55)
    results = run(engine, make_images(8), [i / 10 for i in range(8)])
    # The keyframe of frame 4 would be done at 7; frame 6 cannot use that of 0 any more.
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3, 4, 5, 2, 3]


def test_amortised_frame_for_which_the_unfinished_feature_is_too_old_computes_its_own():
    engine = make_engine(keyframe_interval=4, execution='amortised', max_feature_age_s=0.5)
    # A keyframe is begun at .4 s, of which two slices are done when the stream pauses.
    results = run(engine, make_images(8), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.2, 1.3])
    assert [r.keyframe_age for r in results][-2:] == [0, 1]
    assert results[6].is_keyframe
    assert max(r.feature_age_ms for r in results) <= 500


@pytest.mark.parametrize('execution', ['sync', 'amortised'])
def test_frames_slower_than_the_maximum_age_all_compute_their_own(execution):
    results = run(
        make_engine(**RARE | {'execution': execution, 'max_feature_age_s': 0.5}), make_images(6)
    )
    assert [r.keyframe_age for r in results] == [0] * 6
    assert reasons(results) == ['first', *['max_age'] * 5]


def test_limits_can_be_changed_between_two_frames():
    engine = make_engine(**RARE | {'max_feature_age_s': 1})
    images = make_images(6)
    assert reasons(run(engine, images[:3])) == ['first', '', 'max_age']
    engine.schedule = replace(engine.schedule, max_feature_age_s=0)
    assert reasons(run(engine, images, range(3, 9))) == [''] * 6


def test_another_threshold_is_compared_with_the_same_keyframe():
    images = drifting_images([0, 40, 40])
    engine = make_engine()
    engine.schedule = adaptive(9.0)
    run(engine, images[:2])
    engine.schedule = adaptive(0.1)
    result = engine.step(images[2], 2 * SECOND)
    assert (result.reason, result.change_score) == ('change', change_score(images[2], images[0]))
    assert engine.schedule == adaptive(0.1)


@pytest.mark.parametrize(
    ('before', 'after'),
    [
        (ScheduleOptions(keyframe_interval=100), adaptive(9.0)),
        (adaptive(9.0), adaptive(9.0, 'feature')),
    ],
)
def test_another_kind_of_schedule_begins_with_a_keyframe(before, after):
    images = make_images(4)
    engine = make_engine()
    engine.schedule = before
    run(engine, images[:2])
    engine.schedule = after
    results = run(engine, images[2:], [2, 3])
    assert reasons(results) == ['change', '']
    assert math.isnan(results[0].change_score)
    assert results[1].change_score < 9


def test_another_interval_counts_from_the_same_keyframe():
    images = make_images(6)
    engine = make_engine(schedule='adaptive', change_threshold=9.0)
    run(engine, images[:3])
    engine.schedule = ScheduleOptions(keyframe_interval=4)
    assert reasons(run(engine, images[3:], range(3, 6))) == ['', 'interval', '']


def test_a_schedule_that_changes_while_a_keyframe_is_computed_waits_for_it():
    images = make_images(10)
    engine = make_engine(keyframe_interval=4, execution='amortised')
    results = run(engine, images[:6])  # the keyframe of frame 4 is ready at frame 7
    engine.schedule = ScheduleOptions(keyframe_interval=2)
    results += run(engine, images[6:], range(6, 10))
    assert reasons(results) == ['first', '', '', '', 'interval', '', '', '', 'interval', '']
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5]
