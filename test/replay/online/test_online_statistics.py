from __future__ import annotations

import pytest

from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.replay.online.statistics import (
    conclude,
    node_statistics,
    rate_statistics,
    replayed_frames,
)
from dcfm_ros.ros.frame_timing import FrameTiming


def record(
    index: int, *, latency_ms: float | None, timing: FrameTiming | None = None
) -> FrameRecord:
    sent_s = 5.0 + index / 10
    received_s = None if latency_ms is None else sent_s + latency_ms / 1e3
    return FrameRecord(
        index=index,
        stamp_ns=index * 100_000_000,
        frame_id='camera',
        sent_s=sent_s,
        received_s=received_s,
        timing=timing,
    )


def report(records: list[FrameRecord], never_arrived: int = 0, **dropped: int) -> PlayReport:
    return PlayReport(
        records=records,
        dropped_by_cause=dropped,
        unexpected_masks=0,
        never_arrived=never_arrived,
    )


TIMING = FrameTiming(
    is_keyframe=True,
    latency_ms=30.0,
    wait_ms=1.0,
    stage_ms={'convert': 2.0, 'independent': 20.0},
)


def test_time_is_split_between_engine_node_and_transport() -> None:
    records = [record(i, latency_ms=35.0, timing=TIMING) for i in range(3)]
    figures = node_statistics([report(records)])
    assert figures['node_latency_ms']['p50'] == pytest.approx(30.0)
    assert figures['share_ms']['p50'] == pytest.approx(10.0)
    assert figures['transport_ms']['p50'] == pytest.approx(5.0)


def test_lost_masks_are_distinguished_from_lost_frames() -> None:
    records = [record(i, latency_ms=35.0 if i < 5 else None) for i in range(10)]
    figures = node_statistics([report(records, never_arrived=3, lost=1, replaced=1)])
    # 5 are missing: 1 replaced, 1 seen lost, 2 lost after the last that came, 1 mask.
    assert figures['dropped_by_cause'] == {'lost': 1, 'replaced': 1}
    assert (figures['never_arrived'], figures['lost_masks']) == (3, 1)


def test_cause_of_a_drop_is_named_where_it_is_clear() -> None:
    records = [record(0, latency_ms=20.0), record(1, latency_ms=None)]
    assert replayed_frames(report(records, replaced=1))[1].drop_cause == 'replaced'
    assert replayed_frames(report(records, replaced=1))[0].drop_cause == ''
    unclear = report([*records, record(2, latency_ms=None)], replaced=1, lost=1)
    assert replayed_frames(unclear)[1].drop_cause == ''


def test_runs_are_concluded_without_the_best_and_the_worst() -> None:
    runs = [{'A.MEAN_LATENCY': value, 'A.MAX_LATENCY': value, 'A.MIN_LATENCY': value}
            for value in (9.0, 2.0, 1.0, 3.0, 5.0)]  # fmt: skip
    assert conclude(runs) == {
        'A.MEAN_LATENCY': pytest.approx(10 / 3),
        'A.MAX_LATENCY': 5.0,
        'A.MIN_LATENCY': 2.0,
    }


def test_two_runs_are_both_kept_and_what_one_lacks_is_unknown() -> None:
    runs = [{'MEAN_LATENCY': 1.0, 'MEAN_JITTER': None}, {'MEAN_LATENCY': 4.0, 'MEAN_JITTER': 2.0}]
    assert conclude(runs) == {'MEAN_LATENCY': 2.5, 'MEAN_JITTER': None}


def test_frames_of_all_runs_make_the_percentiles_of_a_rate() -> None:
    slow = report([record(i, latency_ms=90.0) for i in range(4)])
    fast = report([record(i, latency_ms=10.0) for i in range(6)])
    figures = rate_statistics(10.0, [slow, fast])
    assert figures['frames']['latency_ms']['p50'] == pytest.approx(10.0)
    assert figures['frames']['latency_ms']['max'] == pytest.approx(90.0)
    assert figures['benchmark']['BasicPerformanceMetrics.NUM_FRAMES_SENT'] == 5.0
