"""`DeepTask`: the deep encoder of one keyframe, in steps that may be spread over frames."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, combinations
import time
from typing import Any


@dataclass(eq=False)
class DeepTask:
    """The deep encoder of one keyframe, in steps."""

    steps: Sequence[Callable[[Any], Any]]
    """Each takes the result of the one before it; the last returns the feature to cache."""
    state: Any
    """What the next step continues from."""
    wait: Callable[[], None] = lambda: None
    """Returns when the device has finished its work."""
    step_ms: list[float] = field(default_factory=list)
    """Shortest duration of each step so far; shared by the tasks of one image size. Empty: not
    measured yet."""

    def run(self, start: int, stop: int) -> None:
        """Run some of the steps."""
        for step in self.steps[start:stop]:
            self.state = step(self.state)

    def run_measured(self) -> None:
        """Run every step and record how long each takes."""
        measured = []
        for step in self.steps:
            begin = time.perf_counter()
            self.state = step(self.state)
            self.wait()
            measured.append((time.perf_counter() - begin) * 1e3)
        before = self.step_ms or measured
        self.step_ms[:] = [min(pair) for pair in zip(before, measured, strict=True)]

    @property
    def feature(self) -> Any:
        """The common feature, once all steps have run."""
        return self.state


@lru_cache(maxsize=64)  # costs change only when a keyframe is measured
def slice_ends(costs: tuple[float, ...], num_slices: int) -> tuple[int, ...]:
    """Cut a chain into slices so that the longest is as short as possible.

    Args:
        costs: Of every step, at least 0.
        num_slices: At least 1; with fewer steps than slices, the last slices are empty.

    Returns:
        For every slice, the number of the step after its last one.
    """
    total = (0.0, *accumulate(costs))
    # The longest slice spans some run of steps: find the smallest such sum that suffices.
    limits = sorted({end - begin for begin, end in combinations(total, 2)})
    least = bisect_left(limits, True, key=lambda limit: len(_cut(total, limit)) <= num_slices)
    ends = _cut(total, limits[least])
    return (*ends, *[len(costs)] * (num_slices - len(ends)))


def _cut(total: Sequence[float], limit: float) -> list[int]:
    """Ends of slices as long as the limit allows, at least one step; `total` begins with 0."""
    begun, ends = 0, []
    for end in range(2, len(total)):
        if total[end] - total[begun] > limit:
            begun = end - 1
            ends.append(begun)
    return [*ends, len(total) - 1]
