"""The table of images over DDS: what it is put together from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from dcfm_ros.benchmark.sections import to_markdown
from dcfm_ros.benchmark.transport import TransportOptions, transport_row, transport_sections
from dcfm_ros.play.process_meter import ProcessMeter, take_sample

FACTS = {'profile': 'none', 'to': 'node', 'size': '640x480', 'reliability': 'reliable'}


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        'sent_s': [10.0 + index / 20 for index in range(41)],
        'latencies_ms': [float(value) for value in range(101)],
        'lost': 4,
        'replaced': 8,
        'receiver': {'cpu_percent': 50.0, 'memory_mb': 900.0, 'memory_mb_max': 950.0},
        'sender_cpu_s': 0.5,
    }
    return transport_row(FACTS, **(values | changes))


def test_row_tells_shares_of_what_was_sent() -> None:
    found = row()
    assert {name: found[name] for name in FACTS} == FACTS
    assert found['sent_hz'] == 20.0
    assert found['lost_percent'] == pytest.approx(100 * 4 / 41, abs=0.01)
    assert found['replaced_percent'] == pytest.approx(100 * 8 / 41, abs=0.01)
    assert (found['p50_ms'], found['p95_ms'], found['p99_ms']) == (50.0, 95.0, 99.0)
    assert (found['cpu_percent'], found['memory_mb']) == (50.0, 900.0)
    assert found['sender_cpu_percent'] == pytest.approx(25.0)


def test_row_without_an_answer_has_no_latency() -> None:
    found = row(latencies_ms=[], lost=41, replaced=0)
    assert found['lost_percent'] == 100.0
    assert found['p50_ms'] is found['p99_ms'] is None


def test_tables_are_split_by_receiver() -> None:
    rows = [row(), row() | {'to': 'subscriber', 'profile': 'fastdds_large_images'}]
    middleware = {'rmw': 'rmw_fastrtps_cpp'}
    figures = {
        'machine': {'cores': 2},
        'transport': {'middleware': middleware, 'frames': 41, 'rate_hz': 20.0, 'rows': rows},
    }
    machine, subscriber, node = transport_sections(figures)
    assert {'fact': 'rmw', 'value': 'rmw_fastrtps_cpp'} in machine.rows
    assert [entry['profile'] for entry in subscriber.rows] == ['fastdds_large_images']
    assert [entry['profile'] for entry in node.rows] == ['none']
    assert node.note.startswith('41 images per row at 20 Hz.')
    text = to_markdown(iter([machine, subscriber, node]))
    assert '| none | 640x480 | reliable |' in text


def test_whole_table_has_a_row_for_each_case() -> None:
    assert TransportOptions().rows == 24  # 3 sizes, 2 reliabilities, 2 profiles, 2 receivers


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'frames': 1}, '`frames` must be at least 2, got 1'),
        ({'rate_hz': 0.0}, '`rate_hz` must be above 0'),
        ({'sizes': ()}, '`sizes` must be some'),
        ({'sizes': ((480, 0),)}, '`sizes` must be some'),
    ],
)
def test_wrong_option_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransportOptions(**values)


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
