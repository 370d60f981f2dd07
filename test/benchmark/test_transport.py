"""`dcfm bench --transport`: loss and latency of images over DDS."""

from __future__ import annotations

from typing import Any

import pytest

from dcfm_ros.benchmark.sections import to_markdown
from dcfm_ros.benchmark.transport import (
    measure_transport,
    transport_row,
    transport_sections,
)

FACTS = {'profile': 'none', 'size': '640x480', 'reliability': 'reliable'}


def row(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        'sent_s': [10.0 + index / 20 for index in range(41)],
        'latencies_ms': [float(value) for value in range(37)],
        'segment_mb': 0.5,
        'receiver': {'cpu_percent': 50.0, 'memory_mb': 900.0, 'memory_mb_max': 950.0},
        'sender_cpu_s': 0.5,
    }
    return transport_row(FACTS, **(values | changes))


def test_row_has_shares_of_what_was_sent() -> None:
    found = row()
    assert {name: found[name] for name in FACTS} == FACTS
    assert found['sent_hz'] == 20.0
    assert found['lost_percent'] == pytest.approx(100 * 4 / 41, abs=0.01)
    assert (found['p50_ms'], found['p95_ms']) == (18.0, pytest.approx(34.2))
    assert (found['cpu_percent'], found['memory_mb']) == (50.0, 900.0)
    assert found['sender_cpu_percent'] == pytest.approx(25.0)


def test_row_without_an_answer_has_no_latency() -> None:
    found = row(latencies_ms=[])
    assert found['lost_percent'] == 100.0
    assert found['p50_ms'] is found['p99_ms'] is None


def test_tables_have_machine_middleware_and_rows() -> None:
    rows = [row(), row() | {'profile': 'fastdds_large_images'}]
    middleware = {'rmw': 'rmw_fastrtps_cpp'}
    figures = {
        'machine': {'cores': 2},
        'transport': {'middleware': middleware, 'frames': 41, 'rate_hz': 20.0, 'rows': rows},
    }
    machine, images = transport_sections(figures)
    assert {'fact': 'rmw', 'value': 'rmw_fastrtps_cpp'} in machine.rows
    assert images.note.startswith('41 images per row at 20 Hz.')
    text = to_markdown([machine, images])
    assert '| none | 640x480 | reliable |' in text


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(ValueError, match='`frames` must be at least 2, got 1'):
        measure_transport(1)


@pytest.mark.slow
@pytest.mark.dds
def test_images_are_sent_and_taken_over_dds() -> None:
    pytest.importorskip('rclpy')
    figures = measure_transport(8, 20.0, ((24, 32),))
    rows = figures['rows']
    is_fastdds = figures['middleware']['rmw'].startswith('rmw_fastrtps')
    assert len(rows) == (4 if is_fastdds else 2)
    for found in rows:
        assert found['size'] == '32x24'
        assert 0 <= found['lost_percent'] <= 100
    reliable = [found for found in rows if found['reliability'] == 'reliable']
    assert all(found['lost_percent'] < 100 for found in reliable)
    if is_fastdds:  # the profile is in use: its segment is larger
        segments = {found['profile']: found['segment_mb'] for found in rows}
        assert segments['fastdds_large_images'] > 10 * segments['none']
