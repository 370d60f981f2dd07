from __future__ import annotations

import math

import pytest
from small_recording import replayed

from dcfm_ros.replay.statistics import benchmark_statistics, run_statistics, stamp_statistics


def test_percentiles_and_jitter_are_exact():
    latencies = [10.0, 20.0, 10.0, 40.0]
    frames, busy_s = [], 0.0
    for index, latency_ms in enumerate(latencies):
        received_s = busy_s + latency_ms / 1e3
        stages = {'common': 5.0} if index == 3 else {}
        frames.append(
            replayed(index, latency_ms, sent_s=busy_s, received_s=received_s, stage_ms=stages)
        )
        busy_s = received_s
    figures = run_statistics([frames])
    assert figures['latency_ms']['mean'] == 20
    assert figures['latency_ms']['p50'] == 15
    assert figures['latency_ms']['max'] == 40
    assert figures['latency_ms_key']['p99'] == 40
    assert figures['latency_ms_nonkey']['max'] == 20
    # Steps between masks: 20, 10 and 40 ms.
    assert figures['jitter_ms']['mean'] == pytest.approx(20)
    benchmark = {k.partition('.')[2]: v for k, v in benchmark_statistics([frames]).items()}
    assert benchmark['RECEIVED_DURATION'] == pytest.approx(70)
    assert benchmark['MEAN_FRAME_RATE'] == pytest.approx(4 / 0.07)
    assert benchmark['MEAN_PLAYBACK_FRAME_RATE'] == pytest.approx(4 / 0.04)
    assert (benchmark['NUM_FRAMES_SENT'], benchmark['NUM_MISSED_FRAMES']) == (4, 0)
    assert benchmark['FIRST_SENT_RECEIVED_LATENCY'] == pytest.approx(10)
    assert benchmark['LAST_SENT_RECEIVED_LATENCY'] == pytest.approx(40)
    assert benchmark['MAX_JITTER'] == pytest.approx(30)
    assert benchmark['MIN_JITTER'] == pytest.approx(10)
    assert benchmark['STD_DEV_JITTER'] == pytest.approx(10)


def test_percentiles_of_many_recordings_are_over_all_frames():
    short = [replayed(0, 100.0)]
    long = [replayed(index, 1.0) for index in range(99)]
    assert run_statistics([short, long])['latency_ms']['p50'] == 1
    assert run_statistics([short, long])['latency_ms']['p95'] == 1
    assert run_statistics([short, long])['jitter_ms']['max'] is None


def test_drops_are_counted_by_cause():
    frames = [
        replayed(0),
        replayed(1, math.nan, is_answered=False, drop_cause='busy'),
        replayed(2, math.nan, is_answered=False),
    ]
    figures = run_statistics([frames])
    assert (figures['frames_sent'], figures['masks_received']) == (3, 1)
    assert figures['dropped_by_cause'] == {'busy': 1, 'unknown': 1}
    assert benchmark_statistics([frames])['BasicPerformanceMetrics.NUM_MISSED_FRAMES'] == 2


def test_gaps_between_stamps_are_counted_and_never_cross_recordings():
    times = [0.0, 0.1, 0.2, 0.5, 0.6]
    recordings = [[replayed(time_s) for time_s in times], [replayed(90 + t) for t in times]]
    figures = stamp_statistics(recordings)
    assert figures['rate_hz'] == pytest.approx(10)
    assert (figures['gaps'], figures['frames_missing'], figures['steps_back']) == (2, 4, 0)
    assert figures['longest_gaps'][0] == {'time_s': 0.5, 'gap_ms': 300.0, 'missing': 2}
    assert figures['duration_s'] == pytest.approx(1.2)


def test_steps_back_are_told_from_steps_of_nothing():
    figures = stamp_statistics([[replayed(time_s) for time_s in (0.0, 0.1, 0.1, 0.1, 0.05, 0.2)]])
    assert (figures['steps_back'], figures['equal_stamps']) == (1, 2)


def test_slow_recording_beside_a_fast_one_has_no_gaps():
    recordings = [[replayed(i / rate_hz) for i in range(20)] for rate_hz in (30, 30, 10)]
    figures = stamp_statistics(recordings)
    assert (figures['gaps'], figures['frames_missing']) == (0, 0)
    assert figures['rate_hz'] == pytest.approx(30, abs=1e-3)
