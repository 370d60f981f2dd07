"""CPU time and memory of another process."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from dcfm_ros.play.process_meter import ProcessMeter, take_sample


def test_meter_tells_work_from_idleness() -> None:
    work = 'import sys; print(flush=True); sys.stdin.read(1)\nwhile True: pass'
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, '-c', work], stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        with ProcessMeter(process.pid, period_s=0.01) as meter:
            start_s = time.monotonic()
            time.sleep(0.5)
            middle_s = time.monotonic()
            before = take_sample(process.pid)
            process.stdin.write(b'x')
            process.stdin.flush()
            time.sleep(1.0)
            end_s = time.monotonic()
        after = take_sample(process.pid)
        process.kill()
    idle, busy = meter.figures(start_s, middle_s), meter.figures(middle_s, end_s)
    assert before is not None
    assert after is not None
    assert idle['cpu_percent'] == pytest.approx(0.0, abs=5.0)
    expected = 100 * (after.cpu_s - before.cpu_s) / (end_s - middle_s)
    assert busy['cpu_percent'] == pytest.approx(expected, abs=10.0)
    assert expected > 10.0
    assert idle['memory_mb'] is not None
    assert 1.0 < idle['memory_mb'] < 100.0


def test_meter_of_a_process_that_has_ended_knows_nothing() -> None:
    with subprocess.Popen([sys.executable, '-c', '']) as process:
        process.wait()
    assert take_sample(process.pid) is None
    with ProcessMeter(process.pid) as meter:
        pass
    assert meter.figures(0.0, time.monotonic())['cpu_percent'] is None


def test_own_memory_is_what_the_system_tells() -> None:
    sample = take_sample(os.getpid())
    assert sample is not None
    assert sample.cpu_s == pytest.approx(sum(os.times()[:2]), abs=0.1)
