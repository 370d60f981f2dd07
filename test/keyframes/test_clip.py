"""Keyframes of a recorded clip, and which of them a frame is fused with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from schedules import adaptive, fixed, grey, seen, stream_keyframes

from dcfm_ros.keyframes.clip import plan_clip
from dcfm_ros.keyframes.schedule import Decision


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


def test_fixed_keyframes_of_a_clip():
    images = [grey(0)] * 8
    assert clip_keyframes(fixed(3), images) == [0, 3, 6]
    assert clip_keyframes(fixed(3), images, start=1) == [1, 4, 7]
    assert clip_keyframes(fixed(3), images, start=5) == [5]


@pytest.mark.parametrize(
    ('threshold', 'shortest', 'longest'), [(0.3, 1, 0), (0.5, 2, 0), (0.6, 3, 5)]
)
@pytest.mark.parametrize('start', [0, 4])
def test_clip_has_the_keyframes_of_the_stream_and_its_last_frame(
    threshold, shortest, longest, start
):
    schedule = adaptive(threshold, shortest, longest)
    levels = np.random.default_rng(1).integers(-20, 21, 60).cumsum() + 128
    images = [grey(level) for level in levels.clip(0, 255)]
    stream = [start + frame for frame in stream_keyframes(schedule, images[start:])]
    assert len(stream) > 5
    clip = clip_keyframes(schedule, images, start)
    assert clip == (stream if stream[-1] + shortest > 59 else [*stream, 59])


def test_last_frame_is_no_keyframe_before_the_minimum_interval():
    images = [grey(5)] * 5
    assert clip_keyframes(adaptive(9), images) == [0, 4]
    assert clip_keyframes(adaptive(9, 4), images) == [0, 4]
    assert clip_keyframes(adaptive(9, 5), images) == [0]
    assert clip_keyframes(adaptive(9), images[:1]) == [0]


def test_clip_reasons_and_scores():
    images = [grey(level) for level in (0, 9, 0, 60, 60, 60, 60)]
    schedule = adaptive(1.0, longest=2)
    decisions = list(schedule.decide_clip(7, CountingClip(images).look, start=1))
    reasons = ['', 'first', '', 'max_interval', '', 'max_interval', 'last']
    assert [decision.reason for decision in decisions] == reasons
    scores = [decision.change_score for decision in decisions]
    expected = [math.nan, math.nan, 0.1562, 0.8851, 0, 0, 0]
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize('start', [-1, 3, 4])
@pytest.mark.parametrize('schedule', [fixed(2), adaptive(1.0)])
def test_start_outside_the_clip_is_refused(schedule, start):
    with pytest.raises(ValueError, match=f'inside the clip of 3 frames, got {start}'):
        list(schedule.decide_clip(3, CountingClip([grey(0)] * 3).look, start))


@pytest.mark.parametrize('schedule', [fixed(2), adaptive(1.0)])
def test_clip_without_frames_has_no_decisions(schedule):
    assert list(schedule.decide_clip(0, CountingClip([]).look)) == []


def test_deciding_a_clip_leaves_the_schedule_alone():
    schedule = adaptive(0.5)
    schedule.set_keyframe(seen(grey(0)))
    clip_keyframes(schedule, [grey(200), grey(100), grey(150)])
    assert schedule.decide(seen(grey(0), 1)).change_score == 0


def test_fixed_schedule_reads_no_image():
    clip = CountingClip([])
    assert len(list(fixed(2).decide_clip(5, clip.look))) == 5
    assert clip.seen == []


def test_plan_reads_no_further_than_the_following_keyframe():
    clip = CountingClip([grey(level) for level in (0, 0, 0, 200, 200, 0)])
    plan = plan_clip(adaptive(1.0).decide_clip(6, clip.look))
    reads = {step.frame: max(clip.seen) for step in plan}
    assert reads == {0: 0, 1: 3, 2: 3, 3: 3, 4: 5, 5: 5}


def test_plan_for_the_past_reads_nothing_ahead():
    clip = CountingClip([grey(level) for level in (0, 0, 0, 200, 200, 0)])
    plan = plan_clip(adaptive(1.0).decide_clip(6, clip.look), 'past')
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
