"""What a schedule decides by beside the image: features, seconds, confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_net import make_images
import torch

from dcfm_ros.keyframes.adaptive_schedule import (
    AdaptiveScheduler,
    change_score,
    digest,
    feature_change,
)
from dcfm_ros.keyframes.schedule import FixedScheduler, Observation
from dcfm_ros.masks.class_mask import mean_confidence

GREY = np.full((6, 8, 3), 90, np.uint8)


def seen(age=1, image=GREY, **values):
    return Observation(image=image, age=age, **values)


def make_feature(seed=0, size=(10, 13)):
    return torch.randn(1, 7, *size, generator=torch.Generator().manual_seed(seed))


def still(threshold=9.0, *limits, **rules):
    """A schedule that has seen a keyframe like all frames after it."""
    schedule = AdaptiveScheduler(threshold, *limits, **rules)
    schedule.set_keyframe(seen(0, feature=make_feature()))
    return schedule


def test_change_of_a_feature_is_one_minus_the_mean_cosine():
    ahead = torch.zeros(1, 2, 8, 16)
    ahead[:, 0] = 3.0
    aside, back, half = ahead.flip(1), -ahead, ahead.clone()
    half[..., 8:] = aside[..., 8:]
    scores = [feature_change(digest(f), digest(ahead)) for f in (ahead, aside, back, half)]
    assert scores == pytest.approx([0, 1, 2, 0.5])


def test_change_of_a_feature_does_not_depend_on_its_scale():
    one, other = make_feature(0), make_feature(1)
    score = feature_change(digest(one), digest(other))
    assert 0.5 < score < 1.5
    assert feature_change(digest(5 * one), digest(0.1 * other)) == pytest.approx(score, rel=1e-5)


def test_feature_is_compared_in_cells_of_eight_by_eight():
    feature = make_feature(0, (16, 24))
    cells = feature.unflatten(3, (3, 8)).unflatten(2, (2, 8)).mean((3, 5))
    expected = cells / cells.norm(dim=1, keepdim=True)
    torch.testing.assert_close(digest(feature), expected)
    assert digest(make_feature(0, (16, 17))).shape[-2:] == (2, 3)


def test_feature_score_makes_the_keyframe_and_not_the_image():
    dark, bright = make_images(2)
    feature, other = make_feature(0), make_feature(1)
    schedule = AdaptiveScheduler(0.5, score='feature')
    schedule.set_keyframe(seen(0, dark, feature=feature))
    assert schedule.decide(seen(1, bright, feature=feature)) == ('', pytest.approx(0, abs=1e-6))
    score = feature_change(digest(other), digest(feature))
    assert schedule.decide(seen(1, dark, feature=other)) == ('change', score)


def test_threshold_zero_makes_every_frame_a_keyframe_by_its_feature_too():
    schedule = still(0.0, score='feature')
    assert schedule.decide(seen(feature=make_feature())).reason == 'change'


def test_keyframe_feature_survives_its_buffer():
    feature = make_feature()
    schedule = AdaptiveScheduler(0.5, score='feature')
    schedule.set_keyframe(seen(0, feature=feature))
    feature.neg_()
    assert schedule.decide(seen(feature=feature)).change_score == pytest.approx(2)


def test_features_of_a_clip_are_compared():
    features = [make_feature(seed) for seed in (0, 0, 1, 1, 0)]
    schedule = AdaptiveScheduler(0.5, score='feature')
    decisions = list(schedule.decide_clip(5, lambda i: seen(feature=features[i])))
    assert [decision.reason for decision in decisions] == ['first', '', 'change', '', 'change']


def test_only_a_schedule_that_needs_them_asks_for_feature_and_confidence():
    schedules = [
        FixedScheduler(2),
        AdaptiveScheduler(1),
        AdaptiveScheduler(1, score='feature'),
        AdaptiveScheduler(1, confidence_drop=0.1),
    ]
    assert [s.uses_feature for s in schedules] == [False, False, True, False]
    assert [s.uses_confidence for s in schedules] == [False, False, False, True]


@pytest.mark.parametrize(
    ('age', 'age_s', 'reason'),
    [
        (3, 0.49, ''),
        (3, 0.5, 'max_interval'),
        (1, 7.0, 'max_interval'),
        (5, 0.1, 'interval'),
        (3, math.nan, ''),
    ],
)
def test_fixed_interval_in_frames_has_a_limit_in_seconds(age, age_s, reason):
    schedule = FixedScheduler(5, max_interval_s=0.5)
    assert schedule.decide(seen(age, age_s=age_s)).reason == reason


@pytest.mark.parametrize(
    ('age', 'age_s', 'reason'),
    [
        (1, 0.9, ''),
        (9, 0.29, ''),
        (2, 0.3, 'change'),
        (2, math.nan, 'change'),
    ],
)
def test_least_interval_holds_in_frames_and_in_seconds(age, age_s, reason):
    schedule = still(0.0, 2, min_interval_s=0.3)
    assert schedule.decide(seen(age, age_s=age_s)).reason == reason


@pytest.mark.parametrize(
    ('age', 'age_s', 'reason'),
    [
        (5, 0.9, ''),
        (6, 0.1, 'max_interval'),
        (2, 1.0, 'max_interval'),
        (1, 1.0, 'max_interval'),  # frames were lost: least interval or not
        (5, math.nan, ''),
    ],
)
def test_longest_interval_ends_in_frames_or_in_seconds(age, age_s, reason):
    schedule = still(9.0, 2, 6, max_interval_s=1.0)
    assert schedule.decide(seen(age, age_s=age_s)).reason == reason


@pytest.mark.parametrize(
    ('drop', 'age', 'reason'),
    [
        (0.11, 2, 'confidence'),
        (0.1, 2, ''),
        (-0.5, 2, ''),
        (math.nan, 2, ''),
        (0.9, 1, ''),
    ],
)
def test_keyframe_where_the_confidence_has_fallen_by_more(drop, age, reason):
    schedule = still(9.0, 2, confidence_drop=0.1)
    assert schedule.decide(seen(age, confidence_drop=drop)).reason == reason


def test_confidence_counts_only_where_it_is_asked_for():
    assert still().decide(seen(2, confidence_drop=1.0)).reason == ''


def test_change_is_the_first_reason_to_be_told():
    schedule = still(0.0, 1, 2, confidence_drop=0.1)
    assert schedule.decide(seen(5, confidence_drop=1.0)).reason == 'change'
    schedule = still(9.0, 1, 2, confidence_drop=0.1)
    assert schedule.decide(seen(5, confidence_drop=1.0)).reason == 'confidence'


@pytest.mark.parametrize('score', ['image', 'feature'])
def test_successor_compares_with_the_same_keyframe(score):
    schedule = AdaptiveScheduler(2.0, score=score)
    schedule.set_keyframe(seen(0, feature=make_feature(5)))  # of another camera, say
    schedule.follow(still(9.0, score=score))
    decision = schedule.decide(seen(feature=make_feature()))
    assert decision == ('', pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize('other', [FixedScheduler(2), still(9.0), AdaptiveScheduler(1)])
def test_frame_counts_as_changed_where_there_is_nothing_to_compare_with(other):
    schedule = still(9.0, 3, score='feature')
    schedule.follow(other)
    early, late = (schedule.decide(seen(age, feature=make_feature())) for age in (2, 3))
    assert (early.reason, late.reason) == ('', 'change')
    assert math.isnan(late.change_score)


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        ({'score': 'flow'}, "`score` must be one of image, feature, got 'flow'"),
        ({'min_interval_s': -1.0}, '`min_interval_s` must be at least 0, got -1.0'),
        ({'min_interval_s': math.nan}, '`min_interval_s` must be at least 0, got nan'),
        ({'max_interval_s': 0.0}, '`max_interval_s` must be above 0, got 0.0'),
        (
            {'min_interval_s': 2.0, 'max_interval_s': 1.0},
            r'`max_interval_s` must be at least `min_interval_s` \(2.0\), got 1.0',
        ),
        ({'confidence_drop': 0.0}, '`confidence_drop` must be above 0 and at most 1, got 0.0'),
        ({'confidence_drop': 1.5}, '`confidence_drop` must be above 0 and at most 1, got 1.5'),
    ],
)
def test_bad_rules_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveScheduler(1.0, **rules)


def test_bad_limit_of_the_fixed_schedule_is_refused():
    with pytest.raises(ValueError, match='`max_interval_s` must be above 0, got -1'):
        FixedScheduler(2, max_interval_s=-1)


def test_mean_confidence_is_that_of_the_best_classes():
    logits = 4 * make_feature(3)
    expected = logits.softmax(1).amax(1)[:, ::2, ::2].mean().item()
    assert 0.3 < expected < 0.99
    assert mean_confidence(logits) == pytest.approx(expected, rel=1e-5)


def test_scores_of_images_take_no_feature():
    schedule = AdaptiveScheduler(0.5)
    schedule.set_keyframe(Observation(image=GREY))
    decision = schedule.decide(seen(1, GREY + 90))
    assert decision == ('change', change_score(GREY + 90, GREY))
