from __future__ import annotations

import math

import numpy as np
import pytest
from schedules import adaptive, fixed, grey, seen, stream_keyframes
from small_net import make_images, make_net

from dcfm_ros.backends.feature_change import digest, feature_change
from dcfm_ros.keyframes.adaptive_schedule import change_score


def make_digest(seed=0):
    return digest(np.random.default_rng(seed).normal(size=(10, 13, 7)))


@pytest.mark.parametrize('size', [(67, 91), (1, 1), (360, 480)])
def test_score_is_the_mean_absolute_difference_of_the_network_input(size):
    net = make_net()
    image, keyframe = make_images(2, size)
    mean, std = (values.double().numpy().reshape(3) for values in (net.mean, net.std))
    inputs = [(np.float64(picture) / 255 - mean) / std for picture in (image, keyframe)]
    expected = np.abs(inputs[0] - inputs[1]).mean()
    assert change_score(image, keyframe) == pytest.approx(expected, rel=1e-6)


def test_score_weighs_the_channels_by_the_deviation_of_each():
    black = np.zeros((2, 2, 3), np.uint8)
    for channel, deviation in enumerate((0.229, 0.224, 0.225)):
        image = black.copy()
        image[..., channel] = 51
        assert change_score(image, black) == pytest.approx(0.2 / deviation / 3, rel=1e-12)


def test_score_of_an_image_with_itself_is_zero():
    image = make_images(1)[0]
    assert change_score(image, image) == 0


def test_keyframe_where_the_score_equals_the_threshold():
    image, keyframe = make_images(2)
    score = change_score(image, keyframe)
    for threshold, reason in ((score, 'change'), (np.nextafter(score, 9), '')):
        schedule = adaptive(threshold)
        schedule.set_keyframe(seen(keyframe))
        assert schedule.decide(seen(image, 1)) == (reason, score)


def test_score_is_taken_against_the_keyframe_and_so_adds_up():
    images = [grey(10 * level) for level in range(12)]  # 0.1735 from each to the next
    assert stream_keyframes(adaptive(0.5), images) == [0, 3, 6, 9]
    assert stream_keyframes(adaptive(0.53), images) == [0, 4, 8]


def test_no_keyframe_before_the_minimum_interval():
    images = [grey(level) for level in (0, 200, 0, 200, 0, 200, 0, 200)]
    assert stream_keyframes(adaptive(0.5, 1), images) == list(range(8))
    assert stream_keyframes(adaptive(0.5, 3), images) == [0, 3, 6]


def test_keyframe_after_the_maximum_interval():
    images = [grey(5)] * 9
    assert stream_keyframes(adaptive(0.5, longest=4), images) == [0, 4, 8]
    assert stream_keyframes(adaptive(0.5), images) == [0]


def test_reason_tells_change_from_the_maximum_interval():
    schedule = adaptive(0.5, longest=4)
    schedule.set_keyframe(seen(grey(0)))
    assert schedule.decide(seen(grey(0), 4)) == ('max_interval', 0.0)
    assert schedule.decide(seen(grey(200), 4)).reason == 'change'


def test_threshold_zero_makes_every_frame_a_keyframe():
    assert stream_keyframes(adaptive(0), [grey(5)] * 4) == [0, 1, 2, 3]


def test_keyframe_image_survives_its_buffer():
    buffer = grey(0)
    schedule = adaptive(0.5)
    schedule.set_keyframe(seen(buffer))
    buffer[:] = 200
    assert schedule.decide(seen(buffer, 1)).change_score == pytest.approx(3.4707, abs=1e-4)


def test_feature_score_makes_the_keyframe_and_not_the_image():
    dark, bright = make_images(2)
    one, other = make_digest(0), make_digest(1)
    schedule = adaptive(0.5, score='feature')
    schedule.set_keyframe(seen(dark, digest=one))
    assert schedule.decide(seen(bright, digest=one)) == ('', pytest.approx(0, abs=1e-6))
    score = feature_change(other, one)
    assert schedule.decide(seen(dark, digest=other)) == ('change', score)


def test_feature_score_without_a_digest_is_refused():
    schedule = adaptive(0.5, score='feature')
    with pytest.raises(ValueError, match='`digest` must be given'):
        schedule.set_keyframe(seen(grey(0)))
    schedule.set_keyframe(seen(grey(0), digest=make_digest()))
    with pytest.raises(ValueError, match='`digest` must be given'):
        schedule.decide(seen(grey(0)))


def test_threshold_zero_makes_every_frame_a_keyframe_by_its_feature_too():
    schedule = adaptive(0.0, score='feature')
    schedule.set_keyframe(seen(grey(0), digest=make_digest()))
    assert schedule.decide(seen(grey(0), digest=make_digest())).reason == 'change'


def test_features_of_a_clip_are_compared():
    digests = [make_digest(seed) for seed in (0, 0, 1, 1, 0)]
    look = lambda index: seen(grey(0), digest=digests[index])  # noqa: E731
    decisions = adaptive(0.5, score='feature').decide_clip(5, look)
    assert [decision.reason for decision in decisions] == ['first', '', 'change', '', 'change']


def test_only_a_schedule_that_compares_features_asks_for_them():
    schedules = [fixed(2), adaptive(1), adaptive(1, score='feature')]
    assert [schedule.uses_feature for schedule in schedules] == [False, False, True]


@pytest.mark.parametrize('score', ['image', 'feature'])
def test_successor_compares_with_the_same_keyframe(score):
    before = adaptive(9.0, score=score)
    before.set_keyframe(seen(grey(7), digest=make_digest()))
    decision = adaptive(2.0, score=score, replaced=before).decide(
        seen(grey(7), digest=make_digest())
    )
    assert decision == ('', pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize('before', [fixed(2), adaptive(9.0), adaptive(1.0, score='feature')])
def test_frame_counts_as_changed_where_there_is_nothing_to_compare_with(before):
    if not before.uses_feature:
        before.set_keyframe(seen(grey(0)))
    schedule = adaptive(9.0, 3, score='feature', replaced=before)
    early, late = (schedule.decide(seen(grey(0), age, digest=make_digest())) for age in (2, 3))
    assert (early.reason, late.reason) == ('', 'change')
    assert math.isnan(late.change_score)


@pytest.mark.parametrize(
    ('interval', 'phase', 'due'),
    [(6, 0.0, 6), (6, 1 / 3, 2), (6, 0.1, 1), (6, 0.05, 6), (2, 1 / 3, 1), (1, 0.5, 1)],
)
def test_a_phase_is_a_share_of_the_interval(interval, phase, due):
    decisions = [fixed(interval).decide(seen(grey(0), age, phase=phase)) for age in range(1, 9)]
    assert [decision.reason for decision in decisions].index('interval') + 1 == due
