"""When the deep encoder of a keyframe does its work: at once, a slice per frame, or beside them.

The engine begins a task on every keyframe and asks once per frame, that one included, whether its
common feature is there. Until then the frames go on with the feature of the keyframe before it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate, combinations
import os
import threading
import time
from typing import Any, Protocol

from torch import Tensor

EXECUTIONS = ('sync', 'amortised', 'async')

_NICENESS = 5
"""Of the thread beside the frames, above their own: what it is asked can wait, frames cannot."""


@dataclass(eq=False)
class DeepTask:
    """The deep encoder of one keyframe, in steps."""

    steps: Sequence[Callable[[Any], Any]]
    """Each continues from what the one before it gave; the last gives the feature to cache."""
    state: Any
    """What the next step continues from."""
    wait: Callable[[], None] = lambda: None
    """Returns when the device has done what it was given."""
    step_ms: list[float] = field(default_factory=list)
    """Least duration of each step so far; shared by the tasks of one image size. Empty: none of
    them was measured yet."""

    def run(self, start: int, stop: int) -> None:
        """Do some of the steps."""
        for step in self.steps[start:stop]:
            self.state = step(self.state)

    def run_measured(self) -> None:
        """Do all of the steps, and note how long each takes."""
        measured = []
        for step in self.steps:
            begin = time.perf_counter()
            self.state = step(self.state)
            self.wait()
            measured.append((time.perf_counter() - begin) * 1e3)
        before = self.step_ms or measured
        self.step_ms[:] = [min(pair) for pair in zip(before, measured, strict=True)]


class DeepExecution(ABC):
    """Carries out one task at a time."""

    name: str
    """One of `EXECUTIONS`."""

    def __init__(self) -> None:
        self._task: DeepTask | None = None

    @property
    def is_busy(self) -> bool:
        """Whether there is a task that has not given its feature yet."""
        return self._task is not None

    def begin(self, task: DeepTask) -> None:
        """Take the task of a keyframe; there must be no other."""
        self._task = task

    @abstractmethod
    def advance(self) -> Tensor | None:
        """Do this frame's share of the task: its feature, or None if it is not finished yet.

        Raises:
            RuntimeError: What the network raised; the task is gone then.
        """

    @abstractmethod
    def finish(self) -> Tensor:
        """Do all that is left of the task, because this frame cannot do without its feature.

        Raises:
            RuntimeError: What the network raised; the task is gone then.
        """

    def cancel(self) -> None:
        """Drop the task, if there is one."""
        self._task = None

    def for_another_camera(self) -> DeepExecution:
        """One of the same kind without a task."""
        return type(self)()


class AtOnce(DeepExecution):
    """The paper's order: a keyframe takes as long as its deep encoder."""

    name = 'sync'

    def advance(self) -> Tensor | None:
        """See `DeepExecution.advance`; always the feature."""
        return self.finish()

    def finish(self) -> Tensor:
        """See `DeepExecution.finish`."""
        assert self._task is not None
        task, self._task = self._task, None
        task.run(0, len(task.steps))
        return _feature(task)


class Amortised(DeepExecution):
    """A slice of the deep encoder per frame, in the same thread: no frame has to do all of it.

    The feature of a keyframe is there `num_slices` - 1 frames later, whatever the slices take, so
    that results do not depend on the machine. The slices follow from the durations of the steps in
    the runs that could not wait, the first keyframe of each size among them.
    """

    name = 'amortised'

    def __init__(self, num_slices: int) -> None:
        """Choose the number of slices.

        Args:
            num_slices: Frames that share the deep encoder of one keyframe, at least 1.

        Raises:
            ValueError: If it is below 1.
        """
        if num_slices < 1:
            raise ValueError(f'`slices` must be at least 1, got {num_slices}')
        super().__init__()
        self.num_slices = num_slices
        self._ends: list[int] = []
        self._done = 0

    def begin(self, task: DeepTask) -> None:
        """See `DeepExecution.begin`."""
        super().begin(task)
        self._done = 0
        costs = task.step_ms or [1.0] * len(task.steps)
        self._ends = list(slice_ends(tuple(costs), self.num_slices))

    def advance(self) -> Tensor | None:
        """See `DeepExecution.advance`: one slice."""
        self._run_to(self._ends.pop(0))
        return None if self._ends else self._take()

    def finish(self) -> Tensor:
        """See `DeepExecution.finish`; a task that was not begun yet is measured."""
        assert self._task is not None
        if self._done:
            self._run_to(len(self._task.steps))
        else:
            self._guarded(self._task.run_measured)
        return self._take()

    def for_another_camera(self) -> DeepExecution:
        """See `DeepExecution.for_another_camera`."""
        return Amortised(self.num_slices)

    def _run_to(self, end: int) -> None:
        task = self._task
        assert task is not None
        self._guarded(lambda: task.run(self._done, end))
        self._done = end

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException:
            self._task = None
            raise

    def _take(self) -> Tensor:
        assert self._task is not None
        task, self._task = self._task, None
        return _feature(task)


class Pool(Protocol):
    """What runs a function later, as `concurrent.futures.Executor` does."""

    def submit(self, run: Callable[[], Any], /) -> Future[Any]:
        """Have it run."""
        ...


class Beside(DeepExecution):
    """The deep encoder in a thread of its own and low priority.

    A frame waits for it only where the feature in use would get older than allowed. When the
    feature is there depends on the machine; its age is told with every frame.
    """

    name = 'async'

    def __init__(self, pool: Pool | None = None) -> None:
        """Start the thread.

        Args:
            pool: Instead of a thread of its own.
        """
        super().__init__()
        self._pool = pool or ThreadPoolExecutor(1, 'deep_encoder', _lower_priority)
        self._future: Future[Any] | None = None

    def advance(self) -> Tensor | None:
        """See `DeepExecution.advance`; waits for nothing."""
        task = self._task
        assert task is not None
        if self._future is None:
            try:
                self._future = self._pool.submit(partial(_run_all, task))
            except RuntimeError:
                self._task = None
                raise
        return self.finish() if self._future.done() else None

    def finish(self) -> Tensor:
        """See `DeepExecution.finish`; what the thread has not begun is done here and now."""
        assert self._task is not None
        task, future = self._task, self._future
        self._task = self._future = None
        if future is None or future.cancel():
            return _run_all(task)
        feature: Tensor = future.result()
        return feature

    def cancel(self) -> None:
        """See `DeepExecution.cancel`; one that runs already ends, and nobody looks at it."""
        if self._future is not None:
            self._future.cancel()
        self._future = None
        super().cancel()

    def for_another_camera(self) -> DeepExecution:
        """See `DeepExecution.for_another_camera`; they share the thread and take turns in it."""
        return Beside(self._pool)


def make_execution(name: str, num_slices: int) -> DeepExecution:
    """An execution by its name.

    Args:
        name: One of `EXECUTIONS`.
        num_slices: Of 'amortised'.

    Raises:
        ValueError: If there is none of that name, or `num_slices` is below 1.
    """
    if name not in EXECUTIONS:
        msg = f'one of {", ".join(EXECUTIONS)}, got {name!r}'
        raise ValueError(f'`execution` must be {msg}')
    if name == 'amortised':
        return Amortised(num_slices)
    return AtOnce() if name == 'sync' else Beside()


@lru_cache(maxsize=64)  # costs stay what they are until a keyframe is measured anew
def slice_ends(costs: tuple[float, ...], num_slices: int) -> tuple[int, ...]:
    """Cut a chain into slices of which the longest is as short as possible.

    Args:
        costs: Of every step, at least 0.
        num_slices: How many, at least 1; the last ones are empty where there are fewer steps.

    Returns:
        For every slice the number of the step after its last one.
    """
    total = (0.0, *accumulate(costs))
    # The longest slice lasts from one step to another: of these sums, the least that will do.
    limits = sorted({end - begin for begin, end in combinations(total, 2)})
    least = bisect_left(limits, True, key=lambda limit: len(_cut(total, limit)) <= num_slices)
    ends = _cut(total, limits[least])
    return (*ends, *[len(costs)] * (num_slices - len(ends)))


def _cut(total: Sequence[float], limit: float) -> list[int]:
    """Ends of slices that are as long as the limit allows, or one step; `total` counts from 0."""
    begun, ends = 0, []
    for end in range(2, len(total)):
        if total[end] - total[begun] > limit:
            begun = end - 1
            ends.append(begun)
    return [*ends, len(total) - 1]


def _run_all(task: DeepTask) -> Tensor:
    task.run(0, len(task.steps))
    task.wait()
    return _feature(task)


def _feature(task: DeepTask) -> Tensor:
    feature: Tensor = task.state
    return feature


def _lower_priority() -> None:
    if hasattr(os, 'setpriority'):  # on Linux a thread has a priority of its own
        thread = threading.get_native_id()
        niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
        with suppress(OSError):  # without the right to, it works at the priority of all
            os.setpriority(os.PRIO_PROCESS, thread, min(niceness, 19))
