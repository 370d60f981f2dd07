"""CPU time and memory of another process, sampled from /proc."""

from __future__ import annotations

from bisect import bisect_left
import os
from pathlib import Path
import threading
import time
from types import TracebackType
from typing import NamedTuple

_TICKS_PER_S = os.sysconf('SC_CLK_TCK')
_PAGE_BYTES = os.sysconf('SC_PAGE_SIZE')


class Sample(NamedTuple):
    """What a process had used at one moment."""

    time_s: float
    """Steady clock, s."""
    cpu_s: float
    """Since the process began, of all its threads, s."""
    memory_mb: float
    """In RAM, MB."""


class ProcessMeter:
    """Watches a process while the body of a `with` runs.

    Args:
        pid: Of the process; it may end meanwhile.
        period_s: Between two samples.
    """

    def __init__(self, pid: int, period_s: float = 0.05) -> None:
        self.pid = pid
        self._period_s = period_s
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name='process meter')

    def figures(self, start_s: float, end_s: float) -> dict[str, float | None]:
        """Use between two moments of the steady clock.

        Returns:
            'cpu_percent' (100: one core), 'memory_mb' (mean) and 'memory_mb_max'; None where there
            are fewer than two samples.
        """
        samples = list(self._samples)
        times = [sample.time_s for sample in samples]
        chosen = samples[bisect_left(times, start_s) : bisect_left(times, end_s)]
        if len(chosen) < 2:
            return dict.fromkeys(('cpu_percent', 'memory_mb', 'memory_mb_max'))
        first, last = chosen[0], chosen[-1]
        memory = [sample.memory_mb for sample in chosen]
        return {
            'cpu_percent': 100 * (last.cpu_s - first.cpu_s) / (last.time_s - first.time_s),
            'memory_mb': sum(memory) / len(memory),
            'memory_mb_max': max(memory),
        }

    def _watch(self) -> None:
        while not self._stop.is_set():
            sample = take_sample(self.pid)
            if sample is None:
                return
            self._samples.append(sample)
            self._stop.wait(self._period_s)

    def __enter__(self) -> ProcessMeter:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()


def take_sample(pid: int) -> Sample | None:
    """What a process has used so far; None if there is no such process, or no /proc."""
    folder = Path('/proc') / str(pid)
    try:
        # The name, in brackets, may have spaces; times are the 14th and 15th field.
        fields = (folder / 'stat').read_text(encoding='utf-8').rpartition(')')[2].split()
        pages = int((folder / 'statm').read_text(encoding='utf-8').split()[1])
    except OSError:
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return Sample(time.monotonic(), cpu_s, pages * _PAGE_BYTES / 1e6)
