"""When the deep encoder of a keyframe does its work: at once, or a slice per frame.

The engine begins a task on every keyframe and asks for its common feature once per frame,
beginning with that one. Until it is ready, frames use the feature of the keyframe before it.
"""

from __future__ import annotations

from typing import Any

from dcfm_ros.backends.deep_task import DeepTask, slice_ends


class DeepExecution:
    """Runs the deep encoder of one keyframe at a time, in slices of about equal duration.

    With one slice the keyframe does all of it, as in the paper ('sync'). With more ('amortised'),
    the feature is ready `num_slices` - 1 frames later, however long the slices take, so that
    results do not depend on the machine. Slices are cut by the step durations measured in runs
    that could not be spread, the first keyframe of each image size among them.
    """

    def __init__(self, num_slices: int = 1) -> None:
        """Take the number of frames that share the deep encoder of one keyframe, at least 1."""
        self.num_slices = num_slices
        self._task: DeepTask | None = None
        self._ends: list[int] = []
        self._done = 0

    @property
    def is_busy(self) -> bool:
        """Whether a task is unfinished."""
        return self._task is not None

    def begin(self, task: DeepTask) -> None:
        """Take the task of a keyframe; it replaces an unfinished one."""
        self._task, self._done = task, 0
        costs = task.step_ms or [1.0] * len(task.steps)
        self._ends = list(slice_ends(tuple(costs), self.num_slices))

    def advance(self) -> Any | None:
        """Run this frame's slice: the feature, or None if it is not ready yet.

        Raises:
            RuntimeError: From the network; the task is dropped then.
        """
        task, self._task = self._task, None  # kept only if the slice succeeds
        assert task is not None
        end = self._ends.pop(0)
        task.run(self._done, end)
        if not self._ends:
            return task.feature
        self._task, self._done = task, end
        return None

    def finish(self) -> Any:
        """Run all that is left, for a frame that needs the feature at once.

        Raises:
            RuntimeError: From the network; the task is dropped then.
        """
        task, self._task = self._task, None
        assert task is not None
        if self._done == 0 and self.num_slices > 1:
            task.run_measured()
        else:
            task.run(self._done, len(task.steps))
        return task.feature

    def cancel(self) -> None:
        """Drop the task, if there is one."""
        self._task = None
