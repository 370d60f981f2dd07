"""Statistics of plays to a node, beside those of every replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
import math
from typing import Any

from dcfm_ros.percentiles import percentiles
from dcfm_ros.play.report import FrameRecord, PlayReport, summarise
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.statistics import benchmark_statistics, run_statistics
from dcfm_ros.ros.frame_timing import FrameTiming

_LARGEST = ('MAX_LATENCY', 'MAX_JITTER', 'MEAN_JITTER')
_SMALLEST = ('MIN_LATENCY', 'MIN_JITTER')
_OF_THE_RECORDING = ('stamps', 'temporal', 'dropped_by_cause')
"""Statistics that say nothing of runs cut out of a recording, or that repeat it."""


def replayed_frames(report: PlayReport) -> list[ReplayedFrame]:
    """The frames of a play as those of any replay, in order, without what their masks show."""
    causes = [cause for cause, count in report.dropped_by_cause.items() if count]
    # The node counts its drops without naming frames: a single cause is that of all.
    cause = causes[0] if len(causes) == 1 and not report.unaccounted else ''
    return [_replayed_frame(record, cause) for record in report.records]


def _replayed_frame(record: FrameRecord, cause: str) -> ReplayedFrame:
    timing = record.timing or FrameTiming()
    return ReplayedFrame(
        stamp_ns=record.stamp_ns,
        is_answered=record.answered,
        drop_cause='' if record.answered else cause,
        is_keyframe=timing.is_keyframe,
        reason=timing.reason,
        keyframe_age=None if record.timing is None else timing.keyframe_age,
        feature_age_ms=timing.feature_age_ms,
        change_score=timing.change_score,
        stage_ms=timing.stage_ms,
        latency_ms=math.nan if record.latency_ms is None else record.latency_ms,
        sent_s=record.sent_s,
        received_s=math.nan if record.received_s is None else record.received_s,
    )


def span_s(report: PlayReport) -> tuple[float, float]:
    """When the first frame was sent and when the last frame or mask went, s of a steady clock."""
    times_s = [record.sent_s for record in report.records]
    times_s += [r.received_s for r in report.records if r.received_s is not None]
    return min(times_s), max(times_s)


def rate_statistics(rate_hz: float, reports: Sequence[PlayReport]) -> dict[str, Any]:
    """Statistics of several runs at one rate.

    Returns:
        'rate_hz', 'runs', 'benchmark' (keys of ros2_benchmark, `conclude`d), 'frames' (of all
        runs together) and `node_statistics`.
    """
    runs = [replayed_frames(report) for report in reports]
    frames = run_statistics(runs)
    return {
        'rate_hz': rate_hz,
        'runs': len(reports),
        'benchmark': conclude([benchmark_statistics([run]) for run in runs]),
        'frames': {name: v for name, v in frames.items() if name not in _OF_THE_RECORDING},
        **node_statistics(reports),
    }


def conclude(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Combine the statistics of several runs by the rule of ros2_benchmark.

    The best and the worst of more than two values are dropped; then the mean of the rest is taken,
    the largest for maxima (and the mean jitter), the smallest for minima. What a run lacks is
    None.
    """
    concluded: dict[str, float | None] = {}
    for name in runs[0]:
        values = sorted(value for run in runs if (value := run[name]) is not None)
        rest = values[1:-1] if len(values) > 2 else values
        if len(values) < len(runs):
            concluded[name] = None
        elif name.endswith(_LARGEST):
            concluded[name] = rest[-1]
        elif name.endswith(_SMALLEST):
            concluded[name] = rest[0]
        else:
            concluded[name] = sum(rest) / len(rest)
    return concluded


def node_statistics(reports: Sequence[PlayReport]) -> dict[str, Any]:
    """What became of the frames of some runs, and where their time went, in ms.

    'never_arrived' frames were lost on the way to the node, 'lost_masks' on the way back.
    'node_latency_ms' is from the callback to the published mask, 'share_ms' the same without the
    engine, 'wait_ms' the part of it until the worker is free; 'transport_ms' is spent outside the
    node: sending the frame and receiving its mask.
    """
    dropped: Counter[str] = Counter()
    for report in reports:
        dropped.update(report.dropped_by_cause)
    never_arrived = sum(report.never_arrived for report in reports)
    unaccounted = sum(report.unaccounted for report in reports)
    timed = [
        (record.latency_ms, record.timing)
        for report in reports
        for record in report.records
        if record.latency_ms is not None and record.timing is not None
    ]
    found: dict[str, Any] = {
        'dropped_by_cause': dict(dropped),
        'never_arrived': never_arrived,
        'lost_masks': unaccounted - (never_arrived - dropped['lost']),
        'unexpected_masks': sum(report.unexpected_masks for report in reports),
    }
    if timed:
        times = summarise([timing for _, timing in timed])
        found |= {
            'node_latency_ms': times['latency_ms'],
            'share_ms': times['share_ms'],
            'wait_ms': times['wait_ms'],
            'transport_ms': percentiles(ms - timing.latency_ms for ms, timing in timed),
        }
    return found
