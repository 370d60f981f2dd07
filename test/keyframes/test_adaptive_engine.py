"""Adaptive keyframes by the image, in a stream and in a clip."""

from __future__ import annotations

import math
import weakref

from engines import FRAME_NS, RecordingBackend, ages, keyframes, make_engine, reasons, run
import numpy as np
import pytest
from small_net import (
    assert_masks_are_of_their_keyframes,
    assert_same_mask,
    make_images,
    plain_logits,
)
import torch

from dcfm_ros.images.preprocess import shrink
from dcfm_ros.keyframes.adaptive_schedule import change_score

STEPS = (0, 6, 6, 6, 40, 6, 6, 6, 6, 6, 0, 0)


def drifting_images(steps=STEPS, size=(67, 91)):
    """A random picture that grows brighter by these levels, frame by frame."""
    base = np.random.default_rng(0).integers(0, 100, (*size, 3))
    return [(base + level).astype(np.uint8) for level in np.cumsum(steps)]


def by_image(threshold, **options):
    return {
        'schedule': 'adaptive',
        'keyframe_score': 'image',
        'change_threshold': threshold,
        **options,
    }


def test_stream_takes_keyframes_where_the_image_changed():
    images = drifting_images()
    results = run(make_engine(**by_image(0.35, max_keyframe_interval=6)), images)
    expected = ['first', '', '', '', 'change', '', '', '', 'change', '', '', '']
    assert reasons(results) == expected
    assert ages(results) == [0, 1, 2, 3] * 3
    assert [r.is_keyframe for r in results] == [r.keyframe_age == 0 for r in results]
    before = [0, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8]  # the keyframe that each was compared with
    scores = [change_score(image, images[k]) for image, k in zip(images, before, strict=True)]
    assert math.isnan(results[0].change_score)
    assert [r.change_score for r in results[1:]] == scores[1:]


def test_non_key_frames_are_fused_with_the_keyframe_of_the_schedule():
    images = drifting_images()
    engine = make_engine(**by_image(0.35))
    results = run(engine, images)
    assert_masks_are_of_their_keyframes(engine.net, images, results)


def test_fixed_schedule_has_no_change_score():
    results = run(make_engine(keyframe_interval=2), make_images(3))
    assert all(math.isnan(r.change_score) for r in results)


@pytest.mark.parametrize('reason', ['reset', 'size_change', 'time_jump'])
def test_keyframe_of_the_engine_is_what_later_frames_are_compared_with(reason):
    size = (48, 64) if reason == 'size_change' else (67, 91)
    images = drifting_images((0, 20, 3), size)
    engine = make_engine(**by_image(9.0))
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
    engine = make_engine(**by_image(9.0, inference_height=48))
    score = run(engine, images)[1].change_score
    assert score == change_score(shrink(images[1], 48), shrink(images[0], 48))
    assert score < 0.8 * change_score(images[1], images[0])


def test_a_frame_that_fails_leaves_the_schedule_with_the_keyframe_of_the_cache():
    images = drifting_images((0, 80, 0))
    backend = RecordingBackend()
    engine = make_engine(backend=backend, **by_image(0.5))
    engine.step(images[0], 0)
    backend.failing = {'deep_task'}
    with pytest.raises(RuntimeError, match='out of memory'):
        engine.step(images[1], 1)
    backend.failing = set()
    assert engine.step(images[2], 2).reason == 'change'


@pytest.mark.parametrize('mode', ['both', 'past'])
def test_clip_has_the_keyframes_of_the_stream_and_its_last_frame(mode):
    images = drifting_images()
    engine = make_engine(**by_image(0.35))
    stream = run(engine, images)
    clip = list(engine.segment_clip(images, mode=mode))
    assert reasons(clip) == [*reasons(stream[:-1]), 'last']
    np.testing.assert_array_equal([r.change_score for r in clip], [r.change_score for r in stream])
    assert (
        engine.step(images[8], 12 * FRAME_NS).change_score == 0
    )  # the stream goes on where it was


def test_clip_in_the_past_mode_equals_the_stream():
    images = drifting_images()[:9]  # ends with a keyframe of the stream
    engine = make_engine(**by_image(0.35))
    stream = [result.mask for result in run(engine, images)]
    clip = [result.mask for result in engine.segment_clip(images, mode='past')]
    np.testing.assert_array_equal(clip, stream)


@pytest.mark.parametrize('start', [0, 2])
def test_clip_in_both_directions_equals_the_plain_mean(start):
    images = drifting_images()
    engine = make_engine(**by_image(0.35))
    results = list(engine.segment_clip(images, start=start))
    chosen = keyframes(results)
    assert chosen == ([0, 4, 8, 11] if start == 0 else [2, 4, 8, 11])
    for index, result in enumerate(results):
        near = [
            *[k for k in chosen if k < index][-1:],
            *[k for k in chosen if k > index][:1],
        ]
        if index in chosen:
            near = [index]
        logits = [plain_logits(engine.net, images[k], images[index]) for k in near]
        assert_same_mask(result.mask, torch.stack(logits).mean(0))
        assert result.keyframe_age == min(abs(index - k) for k in near)


@pytest.mark.parametrize('options', [{'keyframe_interval': 3}, by_image(0.35)])
def test_clip_keeps_at_most_two_common_features(options):
    features = []

    class WatchedBackend(RecordingBackend):
        def encode_common(self, independent):
            common = super().encode_common(independent)
            features.append(weakref.ref(common[0]))
            return common

    engine = make_engine(backend=WatchedBackend(), **options)
    alive = [
        sum(feature() is not None for feature in features)
        for _ in engine.segment_clip(drifting_images())
    ]
    assert len(features) == 4
    assert max(alive) == 2
