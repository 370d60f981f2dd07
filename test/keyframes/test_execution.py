from __future__ import annotations

from concurrent.futures import Future
from functools import partial
import gc
from itertools import combinations, pairwise
import os
import subprocess
import sys
import threading
import time
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from small_net import assert_same_mask, make_images, make_net, plain_logits
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.adaptive_schedule import AdaptiveScheduler
from dcfm_ros.keyframes.execution import Amortised, Beside, DeepTask, slice_ends
from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint

SLOW = 33_000_000


def make_engine(net=None, schedule=4, **options):
    return SegmentationEngine(
        net or make_net(), device='cpu', backend='torch', schedule=schedule, **options
    )


def run(engine, images, start=0):
    return [engine.step(image, (start + i) * SLOW) for i, image in enumerate(images)]


def ages(results):
    return [result.keyframe_age for result in results]


def assert_masks_are_of_their_keyframes(net, images, results):
    for index, (image, result) in enumerate(zip(images, results, strict=True)):
        keyframe = images[index - result.keyframe_age]
        is_own = result.keyframe_age == 0
        assert_same_mask(result.mask, plain_logits(net, keyframe, image, is_own))


class LaterPool:
    """Runs what it was given when it is told to."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, /):
        future = Future()
        self.waiting.append((function, future))
        return future

    def run_one(self):
        function, future = self.waiting.pop(0)
        try:
            future.set_result(function())
        except RuntimeError as error:
            future.set_exception(error)


def longest(costs, ends):
    return max(sum(costs[a:b]) for a, b in pairwise([0, *ends]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=7),
    st.integers(min_value=1, max_value=8),
)
def test_longest_slice_is_as_short_as_it_can_be(costs, count):
    ends = slice_ends(tuple(costs), count)
    assert len(ends) == count
    assert ends[-1] == len(costs)
    every = [
        [*cut, len(costs)]
        for parts in range(1, min(count, len(costs)) + 1)
        for cut in combinations(range(1, len(costs)), parts - 1)
    ]
    best = min(longest(costs, cut) for cut in every)
    assert longest(costs, ends) == pytest.approx(best, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    'backbone', ['mit_b0', 'resnet18', 'timm:mobilenetv4_conv_small', 'timm:convnext_atto']
)
def test_amortised_keyframe_is_used_from_its_last_slice_on(backbone):
    net, images = make_net(backbone), make_images(12)
    results = run(make_engine(net, execution='amortised'), images)
    assert ages(results) == [0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 6, 3]
    assert [i for i, r in enumerate(results) if r.is_keyframe] == [0, 4, 8]
    assert_masks_are_of_their_keyframes(net, images, results)


def test_every_frame_after_the_first_keyframes_does_a_slice(monkeypatch):
    done = []
    run_steps = DeepTask.run

    def count(task, start, stop):
        done.append(stop - start)
        run_steps(task, start, stop)

    monkeypatch.setattr(DeepTask, 'run', count)
    engine = make_engine(execution='amortised')
    results = run(engine, make_images(12))
    working = [i for i, result in enumerate(results) if 'common' in result.stage_ms]
    assert working == [0, *range(4, 12)]
    assert len(done) == 8
    assert min(done) > 0
    assert sum(done[:4]) == sum(done[4:])


def test_no_step_of_the_packaged_network_is_more_than_a_slice():
    engine = SegmentationEngine(load_checkpoint(find_checkpoint()), device='cpu', backend='torch')
    backend = engine._backend
    independent = backend.encode_independent(backend.to_input(make_images(1, (360, 480))[0]))
    for _ in range(5):
        task = backend.deep_task(independent)
        task.run_measured()
    ends = [0, *slice_ends(tuple(task.step_ms), 4)]
    costs = [sum(task.step_ms[a:b]) for a, b in pairwise(ends)]
    assert max(costs) < 0.5 * sum(costs)


class Clock:
    """Stands still but for what the steps of a task take."""

    def __init__(self, monkeypatch, *step_ms):
        self.now_ms = 0.0
        self.step_ms = step_ms
        self.shared = []
        monkeypatch.setattr(time, 'perf_counter', lambda: self.now_ms / 1e3)

    def task(self):
        steps = [partial(self._step, ms) for ms in self.step_ms]
        return DeepTask(steps, 'feature', step_ms=self.shared)

    def _step(self, ms, state):
        self.now_ms += ms
        return state

    def time(self, function):
        begin = self.now_ms
        function()
        return self.now_ms - begin


def test_no_frame_takes_longer_than_the_best_cut_allows(monkeypatch):
    clock, execution = Clock(monkeypatch, 5, 1, 1, 1, 4, 4), Amortised(3)
    execution.begin(clock.task())
    assert clock.time(execution.finish) == 16
    assert clock.shared == pytest.approx([5, 1, 1, 1, 4, 4])
    for _ in range(2):
        execution.begin(clock.task())
        assert [clock.time(execution.advance) for _ in range(3)] == [6, 6, 4]


def test_least_durations_are_kept(monkeypatch):
    clock, execution = Clock(monkeypatch, 5, 1, 9), Amortised(2)
    execution.begin(clock.task())
    execution.finish()
    clock.step_ms = (3, 2, 4)
    execution.begin(clock.task())
    execution.finish()
    assert clock.shared == pytest.approx([3, 1, 4])


def test_results_do_not_depend_on_what_the_steps_take(monkeypatch):
    engine, images = make_engine(execution='amortised'), make_images(12)
    found = []
    for first, last in ((1.0, 100.0), (100.0, 1.0)):

        def measure(task, first=first, last=last):
            task.run(0, len(task.steps))
            middle = [1.0] * (len(task.steps) - 2)
            task.step_ms[:] = [first, *middle, last]

        monkeypatch.setattr(DeepTask, 'run_measured', measure)
        engine.reset()
        found.append(run(engine, images))
    assert ages(found[0]) == ages(found[1])
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(*found, strict=True))


def test_slices_can_be_fewer_than_the_interval():
    results = run(make_engine(schedule=6, execution='amortised', slices=2), make_images(10))
    assert ages(results) == [0, 1, 2, 3, 4, 5, 6, 1, 2, 3]


def test_more_slices_than_blocks_still_take_a_frame_each():
    net = make_net('timm:convnext_atto')
    engine = make_engine(net, schedule=16, execution='amortised')
    assert len(net.encoder.deep_steps()) + 2 < 16
    assert ages(run(engine, make_images(33)))[16:] == [*range(16, 31), 15, 16]


def test_slices_follow_from_the_first_keyframe_of_a_size():
    engine = make_engine(execution='amortised')
    backend = engine._backend
    independent = backend.encode_independent(backend.to_input(make_images(1)[0]))
    assert backend.deep_task(independent).step_ms == []
    run(engine, make_images(1))
    measured = backend.deep_task(independent).step_ms
    assert len(measured) == len(backend.net.encoder.deep_steps()) + 2
    assert min(measured) > 0
    other = backend.encode_independent(backend.to_input(make_images(1, (99, 67))[0]))
    assert backend.deep_task(other).step_ms == []


def test_feature_age_is_told_in_time_too():
    results = run(make_engine(execution='amortised'), make_images(8))
    assert [r.feature_age_ms for r in results] == [33.0 * age for age in ages(results)]


@pytest.mark.parametrize('taken', [1, 3])
def test_thread_that_takes_n_frames_is_like_a_slice_more(taken):
    net, images, pool = make_net(), make_images(10), LaterPool()
    engine = make_engine(net, execution=Beside(pool))
    beside, waited = [], 0
    for image in images:
        beside.append(engine.step(image, len(beside) * SLOW))
        waited += bool(pool.waiting)
        if waited == taken:
            pool.run_one()
            waited = 0
    spread = run(make_engine(net, execution='amortised', slices=taken + 1), images)
    assert ages(beside) == ages(spread)
    assert [r.is_keyframe for r in beside] == [r.is_keyframe for r in spread]
    assert [r.feature_age_ms for r in beside] == [33.0 * age for age in ages(spread)]
    for one, other in zip(beside, spread, strict=True):
        torch.testing.assert_close(one.logits, other.logits, atol=1e-5, rtol=1e-5)


def test_frames_go_on_with_the_old_feature_until_the_thread_is_done():
    net, images, pool = make_net(), make_images(9), LaterPool()
    engine = make_engine(net, schedule=2, execution=Beside(pool))
    results = run(engine, images[:6])
    assert ages(results) == [0, 1, 2, 3, 4, 5]
    assert [r.is_keyframe for r in results] == [True, False, True, False, False, False]
    pool.run_one()
    results += run(engine, images[6:8], 6)
    assert ages(results)[6:] == [4, 5]
    assert results[7].is_keyframe
    pool.run_one()
    results += run(engine, images[8:], 8)
    assert ages(results)[8] == 1
    assert_masks_are_of_their_keyframes(net, images, results)


def test_a_thread_of_its_own_computes_the_same():
    net, images = make_net(), make_images(400)
    engine = make_engine(net, schedule=2, execution='async')
    results = []
    while sum(result.is_keyframe for result in results) < 4:
        results.append(engine.step(images[len(results)], len(results)))
        time.sleep(0.02)
    images = images[: len(results)]
    assert min(ages(results)[3:]) < max(ages(results))
    assert_masks_are_of_their_keyframes(net, images, results)


@pytest.mark.skipif(not hasattr(os, 'setpriority'), reason='no priorities on this system')
def test_the_thread_gives_way_to_the_frames():
    seen = []

    def look(state):
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return state

    execution = Beside()
    execution.begin(DeepTask([look], 'feature'))
    while execution.advance() is None:
        time.sleep(0.01)
    execution.begin(DeepTask([look], 'feature'))  # but not if they wait for it
    execution.finish()
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert seen[0] > own
    assert seen[1] == own


def test_no_feature_gets_older_than_allowed():
    engine = make_engine(execution='amortised', max_age=5)
    assert ages(run(engine, make_images(12))) == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3]
    engine = make_engine(schedule=100, max_age=3)
    results = run(engine, make_images(9))
    assert ages(results) == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert [r.reason for r in results if r.is_keyframe] == ['first', 'max_age', 'max_age']


def test_a_frame_waits_for_the_thread_before_its_feature_gets_too_old():
    pool = LaterPool()
    engine = make_engine(schedule=2, execution=Beside(pool), max_age=3)
    results = run(engine, make_images(4))
    pool.waiting[0][1].set_running_or_notify_cancel()
    threading.Timer(0.2, pool.run_one).start()
    results += run(engine, make_images(1), 4)
    assert ages(results) == [0, 1, 2, 3, 2]


def test_what_the_thread_has_not_begun_is_not_waited_for():
    pool = LaterPool()
    engine = make_engine(schedule=2, execution=Beside(pool), max_age=3)
    assert ages(run(engine, make_images(5))) == [0, 1, 2, 3, 2]
    assert pool.waiting[0][1].cancelled()


@pytest.mark.parametrize('execution', ['sync', 'amortised', 'async'])
def test_with_an_age_of_0_every_frame_has_its_own_feature(execution):
    results = run(make_engine(execution=execution, max_age=0), make_images(6))
    assert ages(results) == [0] * 6
    assert [result.reason for result in results] == ['first', *['max_age'] * 5]


@pytest.mark.parametrize('execution', ['amortised', 'async'])
def test_step_back_in_time_drops_what_is_under_way(execution):
    net = make_net()
    engine = make_engine(net, schedule=2, execution=execution)
    run(engine, make_images(3), 10)
    assert engine._deep.is_busy
    images = make_images(2, seed=5)
    results = run(engine, images)
    assert [r.reason for r in results] == ['time_jump', '']
    assert [r.feature_age_ms for r in results] == [0.0, 33.0]
    assert_masks_are_of_their_keyframes(net, images, results)


@pytest.mark.parametrize('execution', ['amortised', 'async'])
def test_reset_and_another_size_drop_what_is_under_way(execution):
    net = make_net()
    engine = make_engine(net, schedule=2, execution=execution)
    run(engine, make_images(3))
    assert engine._deep.is_busy
    engine.reset()
    images = make_images(2, seed=5)
    results = run(engine, images, 3)
    assert [r.reason for r in results] == ['reset', '']
    assert ages(results) == [0, 1]
    assert_masks_are_of_their_keyframes(net, images, results)
    run(engine, make_images(1), 5)
    assert engine._deep.is_busy
    images = make_images(2, (99, 67))
    results = run(engine, images, 6)
    assert [r.reason for r in results] == ['size_change', '']
    assert_masks_are_of_their_keyframes(net, images, results)


def test_a_schedule_waits_while_a_keyframe_is_under_way_but_tells_its_score():
    images = make_images(9)
    engine = make_engine(schedule=AdaptiveScheduler(0.0), execution='amortised', slices=3)
    results = run(engine, images)
    assert [i for i, r in enumerate(results) if r.is_keyframe] == [0, 1, 4, 7]
    assert all(result.change_score > 0 for result in results[1:])


def fail(*_, **_options):
    raise RuntimeError('out of memory')


def test_a_slice_that_fails_is_done_again_with_the_next_frame(monkeypatch):
    engine, images = make_engine(schedule=2, execution='amortised', slices=2), make_images(6)
    run(engine, images[:3])
    with monkeypatch.context() as patch:
        patch.setattr(engine._deep._task, 'run', fail)
        with pytest.raises(RuntimeError, match='out of memory'):
            engine.step(images[3], 3 * SLOW)
    results = run(engine, images[4:], 4)
    assert [r.reason for r in results] == ['retry', '']
    assert ages(results) == [0, 1]


def test_a_frame_that_fails_before_its_slice_leaves_it_to_the_next(monkeypatch):
    engine, images = make_engine(execution='amortised', slices=2), make_images(8)
    run(engine, images[:5])
    with monkeypatch.context() as patch:
        patch.setattr(engine._backend, 'encode_independent', fail)
        with pytest.raises(RuntimeError, match='out of memory'):
            engine.step(images[5], 5 * SLOW)
    results = run(engine, images[6:], 6)
    assert ages(results) == [2, 3]


def test_a_frame_that_fails_after_its_keyframe_is_counted(monkeypatch):
    engine, images = make_engine(schedule=2), make_images(4)
    with monkeypatch.context() as patch:
        patch.setattr(engine._backend, 'decode', fail)
        with pytest.raises(RuntimeError, match='out of memory'):
            engine.step(images[0], 0)
    results = run(engine, images[1:], 1)
    assert ages(results) == [1, 0, 1]
    assert [r.is_keyframe for r in results] == [False, True, False]


def test_a_dropped_engine_leaves_nothing_behind():
    engine = make_engine(execution='amortised')
    run(engine, make_images(6))
    backend = weakref.ref(engine._backend)
    gc.collect()
    gc.disable()
    try:
        del engine
        assert backend() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, 'setpriority'), reason='no priorities on this system')
def test_a_process_that_may_not_change_priorities_works_too():
    code = """
import os
from dcfm_ros.keyframes.execution import Beside, DeepTask
os.setpriority(os.PRIO_PROCESS, 0, 12)
os.setuid(65534)
beside = Beside()
beside.begin(DeepTask([lambda state: state], 'feature'))
while (feature := beside.advance()) is None:
    pass
print(feature)
"""
    if os.getuid() != 0:
        pytest.skip('only root can become somebody else')
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == 'feature', done.stderr


def test_a_thread_that_fails_is_told_and_done_again(monkeypatch):
    pool = LaterPool()
    engine, images = make_engine(schedule=2, execution=Beside(pool)), make_images(6)
    run(engine, images[:3])
    monkeypatch.setattr(DeepTask, 'run', fail)
    pool.run_one()
    monkeypatch.undo()
    with pytest.raises(RuntimeError, match='out of memory'):
        engine.step(images[3], 3 * SLOW)
    engine._deep = Beside()
    assert run(engine, images[4:5], 4)[0].reason == 'retry'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            {'execution': 'parallel'},
            r"`execution` must be one of sync, amortised, async, got 'par",
        ),
        ({'execution': 'amortised', 'slices': 0}, '`slices` must be at least 1, got 0'),
        ({'slices': 0}, '`slices` must be at least 1, got 0'),
        ({'max_age': -1}, '`max_age` must be at least 0, got -1'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_engine(**options)
