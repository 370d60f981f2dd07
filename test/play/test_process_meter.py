"""CPU time and memory of another process."""

from __future__ import annotations

from contextlib import ExitStack
import math
import os
import subprocess
import sys
import time

import psutil
import pytest
from running_node import wait_for

from dcfm_ros.play.process_meter import ProcessMeter, Sample, take_sample, use_of


def sample(pid: int) -> Sample:
    found = take_sample(pid)
    assert found is not None
    return found


def test_use_is_that_between_two_moments() -> None:
    samples = [
        Sample(time_s=1.0, cpu_s=7.0, memory_mb=90.0),
        Sample(time_s=2.0, cpu_s=7.0, memory_mb=10.0),
        Sample(time_s=2.5, cpu_s=7.25, memory_mb=40.0),
        Sample(time_s=4.0, cpu_s=8.0, memory_mb=25.0),
        Sample(time_s=5.0, cpu_s=9.5, memory_mb=90.0),
    ]
    assert use_of(samples, 2.0, 5.0) == pytest.approx(
        {'cpu_percent': 50.0, 'memory_mb': 25.0, 'memory_mb_max': 40.0}
    )
    assert use_of(samples, 4.0, math.inf)['cpu_percent'] == pytest.approx(150.0)
    assert set(use_of(samples, 4.0, 5.0).values()) == {None}


def test_meter_tells_work_from_idleness() -> None:
    work = 'import sys; print(flush=True); sys.stdin.read(1)\nwhile True: pass'
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, '-c', work], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        status = psutil.Process(process.pid).status
        wait_for(lambda: status() == psutil.STATUS_SLEEPING, 'it to read')
        with ExitStack() as stack, ProcessMeter(process.pid, period_s=0.01) as meter:
            stack.callback(process.kill)  # or a failure would wait for it

            def percent_since(moment_s: float) -> float | None:
                return meter.figures(moment_s, math.inf)['cpu_percent']

            def cpu_s() -> float:
                return (percent_since(start_s) or 0.0) / 100 * (time.monotonic() - start_s)

            start_s = time.monotonic()
            wait_for(lambda: percent_since(start_s + 0.1) is not None, 'idle samples')
            idle = meter.figures(start_s, math.inf)
            process.stdin.write(b'x')
            process.stdin.flush()
            start_s = time.monotonic()
            wait_for(lambda: cpu_s() > 0.3, 'work')
    assert idle['cpu_percent'] == 0.0
    assert idle['memory_mb'] is not None
    assert 1.0 < idle['memory_mb'] < 100.0


def test_meter_of_a_process_that_has_ended_knows_nothing() -> None:
    with subprocess.Popen([sys.executable, '-c', '']) as process:
        process.wait()
    assert take_sample(process.pid) is None
    with ProcessMeter(process.pid) as meter:
        pass
    assert meter.figures(0.0, float('inf'))['cpu_percent'] is None


def test_own_memory_is_what_the_system_tells() -> None:
    assert sample(os.getpid()).cpu_s == pytest.approx(sum(os.times()[:2]), abs=0.1)
