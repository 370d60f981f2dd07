"""Cutting a deep encoder into slices and running them, without an engine."""

from __future__ import annotations

from functools import partial
from itertools import combinations, pairwise
import time

from engines import make_engine
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from small_net import make_images
from torch.utils.flop_counter import FlopCounterMode

from dcfm_ros.backends.deep_task import DeepTask, slice_ends
from dcfm_ros.keyframes.execution import DeepExecution
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint


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


def test_no_step_of_the_packaged_network_is_more_than_a_slice():
    engine = make_engine(load_checkpoint(find_checkpoint()))
    backend = engine.backend
    independent = backend.encode_independent(backend.to_input(make_images(1, (360, 480))[0]))
    task, costs = backend.deep_task(independent), []
    for index in range(len(task.steps)):
        with FlopCounterMode(display=False) as counter:
            task.run(index, index + 1)
        costs.append(counter.get_total_flops())
    ends = slice_ends(tuple(costs), 4)
    assert longest(costs, ends) < 0.5 * sum(costs)


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
    clock, execution = Clock(monkeypatch, 5, 1, 1, 1, 4, 4), DeepExecution(3)
    execution.begin(clock.task())
    assert clock.time(execution.finish) == 16
    assert clock.shared == pytest.approx([5, 1, 1, 1, 4, 4])
    for _ in range(2):
        execution.begin(clock.task())
        assert [clock.time(execution.advance) for _ in range(3)] == [6, 6, 4]


def test_least_durations_are_kept(monkeypatch):
    clock, execution = Clock(monkeypatch, 5, 1, 9), DeepExecution(2)
    execution.begin(clock.task())
    execution.finish()
    clock.step_ms = (3, 2, 4)
    execution.begin(clock.task())
    execution.finish()
    assert clock.shared == pytest.approx([3, 1, 4])


def test_one_slice_is_all_at_once(monkeypatch):
    clock, execution = Clock(monkeypatch, 5, 1, 9), DeepExecution()
    for run_all in (execution.advance, execution.finish):
        execution.begin(clock.task())
        assert execution.is_busy
        assert run_all() == 'feature'
        assert not execution.is_busy
    assert clock.shared == []  # nothing to cut, nothing measured


def test_a_task_replaces_an_unfinished_one(monkeypatch):
    clock, execution = Clock(monkeypatch, 1, 1), DeepExecution(2)
    execution.begin(DeepTask([lambda state: state] * 2, 'old'))
    assert execution.advance() is None
    execution.begin(clock.task())
    assert execution.advance() is None
    assert execution.advance() == 'feature'
