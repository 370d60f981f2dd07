"""Deep encoders at once and in slices."""

from __future__ import annotations

import gc
import weakref

from engines import FRAME_NS, RecordingBackend, ages, keyframes, make_engine, reasons, run
import numpy as np
import pytest
from small_net import assert_masks_are_of_their_keyframes, make_images, make_net

from dcfm_ros.backends.deep_task import DeepTask

AMORTISED = {'execution': 'amortised', 'keyframe_interval': 4}


@pytest.mark.parametrize(
    'backbone', ['mit_b0', 'resnet18', 'timm:mobilenetv4_conv_small', 'timm:convnext_atto']
)
def test_amortised_keyframe_is_used_from_its_last_slice_on(backbone):
    net, images = make_net(backbone), make_images(12)
    results = run(make_engine(net, **AMORTISED), images)
    assert ages(results) == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3]
    assert keyframes(results) == [0, 4, 8]
    assert_masks_are_of_their_keyframes(net, images, results)


def test_every_frame_after_the_first_keyframes_runs_a_slice():
    backend = RecordingBackend()
    engine = make_engine(backend=backend, **AMORTISED)
    done = []
    for index, image in enumerate(make_images(12)):
        result = engine.step(image, index * FRAME_NS)
        done.append(backend.calls.count('step') - sum(done))
        assert ('common' in result.stage_ms) == bool(done[-1])
    assert done[1:4] == [0, 0, 0]
    assert min(done[4:]) > 0
    assert done[0] == sum(done[4:8]) == sum(done[8:])


def test_results_do_not_depend_on_what_the_steps_take():
    net, images, found = make_net(), make_images(12), []
    for first, last in ((1.0, 100.0), (100.0, 1.0)):

        class Timed(RecordingBackend):
            """Pretends that these are the durations of its steps."""

            def deep_task(self, independent, first=first, last=last):
                task = super().deep_task(independent)
                middle = [1.0] * (len(task.steps) - 2)
                return DeepTask(task.steps, task.state, step_ms=[first, *middle, last])

        found.append(run(make_engine(backend=Timed(net), **AMORTISED), images))
    assert ages(found[0]) == ages(found[1])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)


def test_slices_can_be_fewer_than_the_interval():
    results = run(
        make_engine(**AMORTISED | {'keyframe_interval': 6, 'execution_slices': 2}), make_images(10)
    )
    assert ages(results) == [0, 1, 2, 3, 4, 5, 6, 1, 2, 3]


def test_more_slices_than_blocks_still_take_a_frame_each():
    net = make_net('timm:convnext_atto')
    engine = make_engine(net, keyframe_interval=16, execution='amortised')
    assert len(net.encoder.deep_steps()) + 2 < 16
    assert ages(run(engine, make_images(33)))[16:] == [*range(16, 31), 15, 16]


def test_slices_follow_from_the_first_keyframe_of_a_size():
    engine = make_engine(**AMORTISED)
    backend = engine.backend
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    assert backend.deep_task(independent).step_ms == []
    run(engine, make_images(1))
    measured = backend.deep_task(independent).step_ms
    assert len(measured) == len(backend.net.encoder.deep_steps()) + 2
    assert min(measured) > 0
    other = backend.encode_independent(backend.to_input(make_images(1, (99, 67))[0]))
    assert backend.deep_task(other).step_ms == []


def test_feature_age_is_reported_in_time_too():
    results = run(make_engine(**AMORTISED), make_images(8))
    assert [r.feature_age_ms for r in results] == [33.0 * age for age in ages(results)]


def busy_engine(net):
    """Whose third frame has begun a keyframe that is not finished."""
    engine = make_engine(net, keyframe_interval=2, execution='amortised')
    results = run(engine, make_images(3), 10)
    assert results[-1].is_keyframe
    assert results[-1].keyframe_age == 2
    return engine


def test_step_back_in_time_drops_an_unfinished_keyframe():
    net, images = make_net(), make_images(2, seed=5)
    results = run(busy_engine(net), images)
    assert reasons(results) == ['time_jump', '']
    assert [r.feature_age_ms for r in results] == [0.0, 33.0]
    assert_masks_are_of_their_keyframes(net, images, results)


def test_reset_drops_an_unfinished_keyframe():
    net, images = make_net(), make_images(2, seed=5)
    engine = busy_engine(net)
    engine.reset()
    results = run(engine, images, 13)
    assert reasons(results) == ['reset', '']
    assert_masks_are_of_their_keyframes(net, images, results)


def test_another_size_drops_an_unfinished_keyframe():
    net, images = make_net(), make_images(2, (99, 67))
    results = run(busy_engine(net), images, 13)
    assert reasons(results) == ['size_change', '']
    assert_masks_are_of_their_keyframes(net, images, results)


def test_a_schedule_waits_for_an_unfinished_keyframe_but_reports_its_score():
    options = {'schedule': 'adaptive', 'change_threshold': 0, 'execution_slices': 3}
    results = run(make_engine(execution='amortised', **options), make_images(9))
    assert keyframes(results) == [0, 1, 4, 7]
    assert all(result.change_score > 0 for result in results[1:])


def fail_once(engine, backend, call, image, number):
    """A frame whose stage fails."""
    backend.failing = {call}
    with pytest.raises(RuntimeError, match='out of memory'):
        engine.step(image, number * FRAME_NS)
    backend.failing = set()


def test_after_a_slice_that_fails_the_next_frame_is_a_keyframe():
    backend, images = RecordingBackend(), make_images(6)
    engine = make_engine(backend=backend, keyframe_interval=2, execution='amortised')
    run(engine, images[:3])
    fail_once(engine, backend, 'step', images[3], 3)
    results = run(engine, images[4:], 4)
    assert reasons(results) == ['retry', '']
    assert ages(results) == [0, 1]


@pytest.mark.parametrize('execution', ['sync', 'amortised'])
def test_a_keyframe_that_fails_is_tried_again_on_the_next_frame(execution):
    backend, images = RecordingBackend(), make_images(5)
    engine = make_engine(backend=backend, keyframe_interval=2, execution=execution)
    run(engine, images[:2])
    fail_once(engine, backend, 'step', images[2], 2)
    results = run(engine, images[3:], 3)
    assert reasons(results) == ['interval', '']
    assert ages(results) == ([0, 1] if execution == 'sync' else [3, 1])


def test_a_restart_that_fails_stays_due():
    backend, images = RecordingBackend(), make_images(4)
    engine = make_engine(backend=backend, keyframe_interval=9)
    run(engine, images[:2], 10)
    fail_once(engine, backend, 'step', images[2], 5)
    assert reasons(run(engine, images[3:], 6)) == ['time_jump']


def test_a_frame_that_fails_before_its_slice_leaves_it_to_the_next():
    backend, images = RecordingBackend(), make_images(8)
    engine = make_engine(backend=backend, execution_slices=2, **AMORTISED)
    run(engine, images[:5])
    fail_once(engine, backend, 'independent', images[5], 5)
    assert ages(run(engine, images[6:], 6)) == [2, 3]


def test_a_frame_that_fails_after_its_keyframe_is_counted():
    backend, images = RecordingBackend(), make_images(4)
    engine = make_engine(backend=backend, keyframe_interval=2)
    fail_once(engine, backend, 'decode', images[0], 0)
    results = run(engine, images[1:], 1)
    assert ages(results) == [1, 0, 1]
    assert [r.is_keyframe for r in results] == [False, True, False]


def test_a_dropped_engine_leaves_nothing_behind():
    engine = make_engine(**AMORTISED)
    run(engine, make_images(6))
    backend = weakref.ref(engine.backend)
    gc.collect()
    gc.disable()
    try:
        del engine
        assert backend() is None
    finally:
        gc.enable()
