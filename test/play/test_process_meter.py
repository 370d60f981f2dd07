"""CPU time and memory of another process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from running_node import wait_for

from dcfm_ros.play.process_meter import ProcessMeter, Sample, take_sample


def sample(pid: int) -> Sample:
    found = take_sample(pid)
    assert found is not None
    return found


def test_meter_tells_work_from_idleness() -> None:
    work = 'import sys; print(flush=True); sys.stdin.read(1)\nwhile True: pass'
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, '-c', work], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        with ProcessMeter(process.pid, period_s=0.01) as meter:
            before = sample(process.pid)
            wait_for(lambda: sample(process.pid).time_s > before.time_s + 0.1, 'idle samples')
            middle = sample(process.pid)
            process.stdin.write(b'x')
            process.stdin.flush()
            wait_for(lambda: sample(process.pid).cpu_s > middle.cpu_s + 0.3, 'work')
            after = sample(process.pid)
        process.kill()
    idle = meter.figures(before.time_s, middle.time_s)
    busy = meter.figures(middle.time_s, after.time_s)
    assert idle['cpu_percent'] == pytest.approx(0.0, abs=5.0)
    expected = 100 * (after.cpu_s - middle.cpu_s) / (after.time_s - middle.time_s)
    assert busy['cpu_percent'] == pytest.approx(expected, abs=10.0)
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
