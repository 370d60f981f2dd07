from __future__ import annotations

import math

import numpy as np
import pytest
from small_net import make_images, make_net

from dcfm_ros.keyframes.adaptive_schedule import AdaptiveScheduler, change_score
from dcfm_ros.keyframes.clip import plan_clip
from dcfm_ros.keyframes.schedule import Decision, FixedScheduler, Observation


def grey(level):
    return np.full((6, 8, 3), level, np.uint8)


def seen(image, age=1, **values):
    return Observation(image=image, age=age, **values)


def stream_keyframes(schedule, images):
    """Keyframes as a robot would take them: one image at a time, the first is one."""
    schedule.set_keyframe(seen(images[0]))
    keyframes = [0]
    for frame, image in enumerate(images[1:], 1):
        if schedule.decide(seen(image, frame - keyframes[-1])).reason:
            schedule.set_keyframe(seen(image))
            keyframes.append(frame)
    return keyframes


def clip_keyframes(schedule, images, start=0):
    decisions = list(schedule.decide_clip(len(images), CountingClip(images).look, start))
    assert len(decisions) == len(images)
    return [frame for frame, decision in enumerate(decisions) if decision.reason]


class CountingClip:
    """Remembers which images were looked at."""

    def __init__(self, images):
        self.images, self.seen = images, []

    def look(self, index):
        self.seen.append(index)
        return seen(self.images[index])


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
        schedule = AdaptiveScheduler(threshold)
        schedule.set_keyframe(seen(keyframe))
        assert schedule.decide(seen(image, 1)) == (reason, score)


def test_score_is_taken_against_the_keyframe_and_so_adds_up():
    images = [grey(10 * level) for level in range(12)]  # 0.1735 from each to the next
    assert stream_keyframes(AdaptiveScheduler(0.5), images) == [0, 3, 6, 9]
    assert stream_keyframes(AdaptiveScheduler(0.53), images) == [0, 4, 8]


def test_no_keyframe_before_the_minimum_interval():
    images = [grey(level) for level in (0, 200, 0, 200, 0, 200, 0, 200)]
    assert stream_keyframes(AdaptiveScheduler(0.5, min_interval=1), images) == list(range(8))
    assert stream_keyframes(AdaptiveScheduler(0.5, min_interval=3), images) == [0, 3, 6]


def test_keyframe_after_the_maximum_interval():
    images = [grey(5)] * 9
    assert stream_keyframes(AdaptiveScheduler(0.5, max_interval=4), images) == [0, 4, 8]
    assert stream_keyframes(AdaptiveScheduler(0.5), images) == [0]


def test_reason_tells_change_from_the_maximum_interval():
    schedule = AdaptiveScheduler(0.5, max_interval=4)
    schedule.set_keyframe(seen(grey(0)))
    assert schedule.decide(seen(grey(0), 4)) == ('max_interval', 0.0)
    assert schedule.decide(seen(grey(200), 4)).reason == 'change'


def test_threshold_zero_makes_every_frame_a_keyframe():
    assert stream_keyframes(AdaptiveScheduler(0), [grey(5)] * 4) == [0, 1, 2, 3]


def test_keyframe_image_survives_its_buffer():
    buffer = grey(0)
    schedule = AdaptiveScheduler(0.5)
    schedule.set_keyframe(seen(buffer))
    buffer[:] = 200
    assert schedule.decide(seen(buffer, 1)).change_score == pytest.approx(3.4707, abs=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'threshold': -0.1}, '`threshold` must be at least 0, got -0.1'),
        ({'threshold': math.nan}, '`threshold` must be at least 0, got nan'),
        ({'threshold': 1, 'min_interval': 0}, '`min_interval` must be a whole number from 1'),
        ({'threshold': 1, 'min_interval': 1.5}, '`min_interval` must be a whole number from 1'),
        ({'threshold': 1, 'max_interval': 0}, '`max_interval` must be a whole number from 1'),
        ({'threshold': 1, 'max_interval': True}, '`max_interval` must be a whole number from 1'),
        (
            {'threshold': 1, 'min_interval': 3, 'max_interval': 2},
            r'`max_interval` must be at least `min_interval` \(3\), got 2',
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveScheduler(**arguments)


def test_fixed_keyframes_of_a_clip():
    images = [grey(0)] * 8
    assert clip_keyframes(FixedScheduler(3), images) == [0, 3, 6]
    assert clip_keyframes(FixedScheduler(3), images, start=1) == [1, 4, 7]
    assert clip_keyframes(FixedScheduler(3), images, start=5) == [5]


@pytest.mark.parametrize(
    'schedule', [AdaptiveScheduler(0.3), AdaptiveScheduler(0.5, 2), AdaptiveScheduler(0.6, 3, 5)]
)
@pytest.mark.parametrize('start', [0, 4])
def test_clip_has_the_keyframes_of_the_stream_and_its_last_frame(schedule, start):
    levels = np.random.default_rng(1).integers(-20, 21, 60).cumsum() + 128
    images = [grey(level) for level in levels.clip(0, 255)]
    stream = [start + frame for frame in stream_keyframes(schedule, images[start:])]
    assert len(stream) > 5
    clip = clip_keyframes(schedule, images, start)
    assert clip == (stream if stream[-1] + schedule.min_interval > 59 else [*stream, 59])


def test_last_frame_is_no_keyframe_before_the_minimum_interval():
    images = [grey(5)] * 5
    assert clip_keyframes(AdaptiveScheduler(9), images) == [0, 4]
    assert clip_keyframes(AdaptiveScheduler(9, min_interval=4), images) == [0, 4]
    assert clip_keyframes(AdaptiveScheduler(9, min_interval=5), images) == [0]
    assert clip_keyframes(AdaptiveScheduler(9), images[:1]) == [0]


def test_clip_reasons_and_scores():
    images = [grey(level) for level in (0, 9, 0, 60, 60, 60, 60)]
    schedule = AdaptiveScheduler(1.0, max_interval=2)
    decisions = list(schedule.decide_clip(7, CountingClip(images).look, start=1))
    reasons = ['', 'first', '', 'max_interval', '', 'max_interval', 'last']
    assert [decision.reason for decision in decisions] == reasons
    scores = [decision.change_score for decision in decisions]
    expected = [math.nan, math.nan, 0.1562, 0.8851, 0, 0, 0]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize('start', [-1, 3, 4])
@pytest.mark.parametrize('schedule', [FixedScheduler(2), AdaptiveScheduler(1.0)])
def test_start_outside_the_clip_is_refused(schedule, start):
    with pytest.raises(ValueError, match=f'inside the clip of 3 frames, got {start}'):
        list(schedule.decide_clip(3, CountingClip([grey(0)] * 3).look, start))


@pytest.mark.parametrize('schedule', [FixedScheduler(2), AdaptiveScheduler(1.0)])
def test_clip_without_frames_has_no_decisions(schedule):
    assert list(schedule.decide_clip(0, CountingClip([]).look)) == []


def test_deciding_a_clip_leaves_the_schedule_alone():
    schedule = AdaptiveScheduler(0.5)
    schedule.set_keyframe(seen(grey(0)))
    clip_keyframes(schedule, [grey(200), grey(100), grey(150)])
    assert schedule.decide(seen(grey(0), 1)).change_score == 0


def test_fixed_schedule_reads_no_image():
    clip = CountingClip([])
    assert len(list(FixedScheduler(2).decide_clip(5, clip.look))) == 5
    assert clip.seen == []


def test_plan_reads_no_further_than_the_following_keyframe():
    clip = CountingClip([grey(level) for level in (0, 0, 0, 200, 200, 0)])
    plan = plan_clip(AdaptiveScheduler(1.0).decide_clip(6, clip.look))
    reads = {step.frame: max(clip.seen) for step in plan}
    assert reads == {0: 0, 1: 3, 2: 3, 3: 3, 4: 5, 5: 5}


def test_plan_for_the_past_reads_nothing_ahead():
    clip = CountingClip([grey(level) for level in (0, 0, 0, 200, 200, 0)])
    plan = plan_clip(AdaptiveScheduler(1.0).decide_clip(6, clip.look), 'past')
    assert [(step.previous, max(clip.seen)) for step in plan] == [
        *((0, 0), (0, 1), (0, 2), (3, 3), (3, 4), (5, 5))
    ]


def test_plan_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="`mode` must be 'both' or 'past', got 'future'"):
        list(plan_clip([], 'future'))


@pytest.mark.parametrize(
    ('mode', 'neighbours'),
    [
        ('both', [(None, 2), (None, 2), (2, None), (2, 4), (4, None), (4, None)]),
        ('past', [(None, 2), (None, 2), (2, None), (2, None), (4, None), (4, None)]),
    ],
)
def test_plan_of_frames_before_between_and_after_the_keyframes(mode, neighbours):
    decisions = [Decision(reason) for reason in ('', '', 'first', '', 'change', '')]
    plan = list(plan_clip(decisions, mode))
    assert [step.frame for step in plan] == list(range(6))
    assert [(step.previous, step.following) for step in plan] == neighbours
    assert [step.decision for step in plan] == decisions
