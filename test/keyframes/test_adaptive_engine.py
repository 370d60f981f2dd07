from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
from small_net import assert_same_mask, make_images, make_net, plain_logits
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.keyframes.adaptive_schedule import AdaptiveScheduler, change_score
from dcfm_ros.keyframes.schedule import FixedScheduler
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.replay.segment import choose_schedule, segment_frames

STEPS = (0, 6, 6, 6, 40, 6, 6, 6, 6, 6, 0, 0)


def drifting_images(steps=STEPS, size=(67, 91)):
    """A random picture that grows brighter by so many levels from frame to frame."""
    base = np.random.default_rng(0).integers(0, 100, (*size, 3))
    return [(base + level).astype(np.uint8) for level in np.cumsum(steps)]


def make_engine(schedule, **options):
    return SegmentationEngine(
        make_net(), device='cpu', backend='torch', schedule=schedule, **options
    )


def run(engine, images):
    return [engine.step(image, index) for index, image in enumerate(images)]


def test_stream_takes_keyframes_where_the_image_changed():
    images = drifting_images()
    results = run(make_engine(AdaptiveScheduler(0.35, max_interval=6)), images)
    reasons = ['first', '', '', '', 'change', '', '', '', 'change', '', '', '']
    assert [r.reason for r in results] == reasons
    assert [r.keyframe_age for r in results] == [0, 1, 2, 3] * 3
    assert [r.is_keyframe for r in results] == [r.keyframe_age == 0 for r in results]
    before = [0, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]  # the keyframe that each was compared with
    scores = [change_score(image, images[k]) for image, k in zip(images, before, strict=True)]
    assert math.isnan(results[0].change_score)
    assert [r.change_score for r in results[1:]] == scores[1:]


def test_non_key_frames_are_fused_with_the_keyframe_of_the_schedule():
    images = drifting_images()
    engine = make_engine(AdaptiveScheduler(0.35))
    for index, result in enumerate(run(engine, images)):
        keyframe = images[index - result.keyframe_age]
        expected = plain_logits(engine.net, keyframe, images[index], result.is_keyframe)
        assert_same_mask(result.mask, expected)


def test_fixed_schedule_has_no_change_score():
    results = run(make_engine(2), make_images(3))
    assert all(math.isnan(r.change_score) for r in results)


@pytest.mark.parametrize('reason', ['reset', 'size_change', 'time_jump'])
def test_keyframe_of_the_engine_is_what_later_frames_are_compared_with(reason):
    size = (48, 64) if reason == 'size_change' else (67, 91)
    images = drifting_images((0, 20, 3), size)
    engine = make_engine(AdaptiveScheduler(9.0))
    engine.step(drifting_images((50,))[0], 100)
    if reason == 'reset':
        engine.reset()
    result = engine.step(images[1], 99 if reason == 'time_jump' else 101)
    assert result.reason == reason
    assert math.isnan(result.change_score)
    following = engine.step(images[2], 102)
    assert following.keyframe_age == 1
    assert following.change_score == change_score(images[2], images[1])


def test_score_is_taken_at_the_size_that_the_network_works_at():
    images = make_images(2, (96, 131))
    engine = make_engine(AdaptiveScheduler(9.0), inference_height=48)
    score = run(engine, images)[1].change_score
    assert score == change_score(shrink(images[1], 48), shrink(images[0], 48))
    assert score < 0.8 * change_score(images[1], images[0])


def test_a_frame_that_fails_leaves_the_schedule_with_the_keyframe_of_the_cache(monkeypatch):
    images = drifting_images((0, 80, 0))
    engine = make_engine(AdaptiveScheduler(0.5))
    engine.step(images[0], 0)

    def fail(independent):
        raise RuntimeError('out of memory')

    with monkeypatch.context() as patch:
        patch.setattr(engine._backend, 'deep_task', fail)
        with pytest.raises(RuntimeError, match='out of memory'):
            engine.step(images[1], 1)
    assert engine.step(images[2], 2).reason == 'change'


def test_one_schedule_given_to_two_engines_is_not_shared():
    schedule = AdaptiveScheduler(0.5)
    first, second = make_engine(schedule), make_engine(schedule)
    dark, bright = drifting_images((0, 80))
    first.step(dark, 0)
    second.step(bright, 0)
    assert first.step(dark, 1).change_score == 0
    assert second.step(bright, 1).change_score == 0


@pytest.mark.parametrize('mode', ['both', 'past'])
def test_clip_has_the_keyframes_of_the_stream_and_its_last_frame(mode):
    images = drifting_images()
    engine = make_engine(AdaptiveScheduler(0.35))
    stream = run(engine, images)
    clip = list(engine.segment_clip(images, mode=mode))
    assert [r.reason for r in clip] == [*(r.reason for r in stream[:-1]), 'last']
    np.testing.assert_array_equal([r.change_score for r in clip], [r.change_score for r in stream])
    assert engine.step(images[8], 12).change_score == 0  # the stream goes on where it was


def test_clip_in_the_past_mode_equals_the_stream():
    images = drifting_images()[:9]  # ends with a keyframe of the stream
    engine = make_engine(AdaptiveScheduler(0.35))
    stream = [result.mask for result in run(engine, images)]
    clip = [result.mask for result in engine.segment_clip(images, mode='past')]
    np.testing.assert_array_equal(clip, stream)


@pytest.mark.parametrize('start', [0, 2])
def test_clip_in_both_directions_equals_the_plain_mean(start):
    images = drifting_images()
    engine = make_engine(AdaptiveScheduler(0.35))
    results = list(engine.segment_clip(images, start=start))
    keyframes = [i for i, r in enumerate(results) if r.is_keyframe]
    assert keyframes == ([0, 4, 8, 11] if start == 0 else [2, 4, 8, 11])
    for index, result in enumerate(results):
        near = [
            *[k for k in keyframes if k < index][-1:],
            *[k for k in keyframes if k > index][:1],
        ]
        if index in keyframes:
            near = [index]
        is_keyframe = index in keyframes
        logits = [plain_logits(engine.net, images[k], images[index], is_keyframe) for k in near]
        assert_same_mask(result.mask, torch.stack(logits).mean(0))
        assert result.keyframe_age == min(abs(index - k) for k in near)


@pytest.mark.parametrize('schedule', [FixedScheduler(3), AdaptiveScheduler(0.35)])
def test_clip_keeps_at_most_two_common_features(schedule, monkeypatch):
    engine = make_engine(schedule)
    features = []
    encode = engine._backend.encode_common

    def encode_common(independent):
        common = encode(independent)
        features.append(weakref.ref(common))
        return common

    monkeypatch.setattr(engine._backend, 'encode_common', encode_common)
    alive = [
        sum(feature() is not None for feature in features)
        for _ in engine.segment_clip(drifting_images())
    ]
    assert len(features) == 4
    assert max(alive) == 2


def test_options_of_the_command_line_give_the_schedule():
    assert choose_schedule(None, None, None).settings()['keyframe_interval'] == 3
    assert choose_schedule(6, None, None).settings()['keyframe_interval'] == 6
    settings = choose_schedule(None, 0.5, 8, 'feature', 0.1).settings()
    assert settings == {
        'schedule': 'adaptive',
        'keyframe_score': 'feature',
        'change_threshold': 0.5,
        'min_interval': 1,
        'max_interval': 8,
        'min_interval_s': 0.0,
        'max_interval_s': None,
        'confidence_drop': 0.1,
    }
    assert choose_schedule(None, 0.5, None).settings()['keyframe_score'] == 'image'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ((4, 0.5, None), r'name one of --interval \(4\) and --adaptive \(0.5\)'),
        ((4, None, 8), r'--max-interval \(8\) needs --adaptive'),
        ((4, None, None, 'image'), r'--score \(image\) needs --adaptive'),
        ((4, None, None, None, 0.1), r'--confidence-drop \(0.1\) needs --adaptive'),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choose_schedule(*options)


def test_summary_of_a_run_names_the_schedule(tmp_path):
    images = drifting_images(size=(64, 96))
    frames = [SourceFrame(image=image, stamp_ns=i) for i, image in enumerate(images)]
    engine = make_engine(AdaptiveScheduler(0.35))
    summary, _ = segment_frames(frames, engine, video=tmp_path / 'seen.mp4', rate_hz=15)
    expected = {
        'schedule': 'adaptive',
        'change_threshold': 0.35,
        'max_interval': None,
        'keyframe_share': 0.25,
        'keyframe_reasons': {'first': 1, 'change': 2},
    }
    assert {name: summary[name] for name in expected} == expected
