"""CPU time and memory of another process, sampled while it runs."""

from __future__ import annotations

from collections.abc import Sequence
import threading
import time
from typing import NamedTuple

import psutil


class Sample(NamedTuple):
    """What a process has used at one moment."""

    time_s: float
    """Steady clock, s."""
    cpu_s: float
    """Of all threads, since the process began, s."""
    memory_mb: float
    """In RAM, MB."""


class ProcessMeter:
    """Samples a process, which may end meanwhile, while the body of a `with` runs."""

    def __init__(self, pid: int, period_s: float = 0.05) -> None:
        self.pid = pid
        self._period_s = period_s
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name='process meter')

    def figures(self, start_s: float, end_s: float) -> dict[str, float | None]:
        """Use between two moments of the steady clock.

        Returns:
            'cpu_percent' (100: one core), 'memory_mb' (mean) and 'memory_mb_max'; None if there
            are fewer than two samples.
        """
        return use_of(self._samples, start_s, end_s)

    def _watch(self) -> None:
        while sample := take_sample(self.pid):
            self._samples.append(sample)
            if self._stop.wait(self._period_s):
                return

    def __enter__(self) -> ProcessMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def take_sample(pid: int) -> Sample | None:
    """What a process has used so far; None once it has ended."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
    except psutil.Error:
        return None
    return Sample(time.monotonic(), times.user + times.system, memory.rss / 1e6)


def use_of(samples: Sequence[Sample], start_s: float, end_s: float) -> dict[str, float | None]:
    """Use between two moments of the steady clock; see `ProcessMeter.figures`."""
    chosen = [sample for sample in samples if start_s <= sample.time_s < end_s]
    if len(chosen) < 2:
        return dict.fromkeys(('cpu_percent', 'memory_mb', 'memory_mb_max'))
    first, last = chosen[0], chosen[-1]
    memory = [sample.memory_mb for sample in chosen]
    return {
        'cpu_percent': 100 * (last.cpu_s - first.cpu_s) / (last.time_s - first.time_s),
        'memory_mb': sum(memory) / len(memory),
        'memory_mb_max': max(memory),
    }
