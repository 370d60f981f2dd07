"""Stage times of one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import time


class StageTimer:
    """Times named stages in ms; waits for the device at the end of each."""

    def __init__(self, wait: Callable[[], None]) -> None:
        """Take `wait`, which returns when the device has finished its work."""
        self._wait = wait
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body of a `with` statement; a stage in two parts is their sum."""
        start = time.perf_counter()
        yield
        self._wait()
        elapsed_ms = (time.perf_counter() - start) * 1e3
        self.stage_ms[name] = self.stage_ms.get(name, 0.0) + elapsed_ms
