"""Figures of frames that were played to a node, beside those that any replay has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any

from dcfm_ros.play.report import FrameRecord, PlayReport, summarise
from dcfm_ros.replay.figures import benchmark_figures, run_figures
from dcfm_ros.replay.recorder import FrameEntry, percentiles
from dcfm_ros.ros.frame_timing import FrameTiming

_LARGEST = ('MAX_LATENCY', 'MAX_JITTER', 'MEAN_JITTER')
_SMALLEST = ('MIN_LATENCY', 'MIN_JITTER')


def rate_figures(rate_hz: float, reports: Sequence[PlayReport]) -> dict[str, Any]:
    """Figures of several runs at one rate.

    Returns:
        'rate_hz', 'runs', 'benchmark' (keys of ros2_benchmark, `conclude`d), 'frames' (of all
        runs taken together) and `node_figures`.
    """
    runs = [entries(report) for report in reports]
    frames = run_figures(runs)
    # Runs are cut out of the recording, or repeat it: its stamps are told elsewhere.
    left_out = ('stamps', 'temporal', 'dropped_by_cause')
    return {
        'rate_hz': rate_hz,
        'runs': len(reports),
        'benchmark': conclude([benchmark_figures([run]) for run in runs]),
        'frames': {name: value for name, value in frames.items() if name not in left_out},
        **node_figures(reports),
    }


def conclude(runs: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Put the figures of several runs together, by the rule of ros2_benchmark.

    Of every figure the best and the worst are dropped, if there are more than two; then the mean
    of the rest is taken, of maxima (and the mean jitter) the largest, of minima the smallest. A
    figure that a run lacks is None.
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


def node_figures(reports: Sequence[PlayReport]) -> dict[str, Any]:
    """What became of the frames of some runs, and where their time went, in ms.

    'never_arrived' are frames that the middleware did not bring, 'lost_masks' those whose mask
    was published and did not come back. 'node_latency_ms' is from the callback to the published
    mask, 'share_ms' that without the engine, 'wait_ms' of it until the worker is free;
    'transport_ms' is what sending the frame and receiving its mask take beside it.
    """
    causes = dict.fromkeys(cause for report in reports for cause in report.dropped_by_cause)
    dropped = {
        cause: sum(report.dropped_by_cause.get(cause, 0) for report in reports) for cause in causes
    }
    never_arrived = sum(report.never_arrived for report in reports)
    unaccounted = sum(report.unaccounted for report in reports)
    timed = [
        (record.latency_ms, record.timing)
        for report in reports
        for record in report.records
        if record.latency_ms is not None and record.timing is not None
    ]
    figures = {
        'dropped_by_cause': dropped,
        'never_arrived': never_arrived,
        'lost_masks': unaccounted - (never_arrived - dropped.get('lost', 0)),
        'unexpected_masks': sum(report.unexpected_masks for report in reports),
    }
    if timed:
        told = summarise([timing for _, timing in timed])
        outside = [latency_ms - timing.latency_ms for latency_ms, timing in timed]
        figures |= {
            'node_latency_ms': told['latency_ms'],
            'share_ms': told['share_ms'],
            'wait_ms': told['wait_ms'],
            'transport_ms': percentiles(outside),
        }
    return figures


def entries(report: PlayReport) -> list[FrameEntry]:
    """The frames of a play as those of any replay; what their masks show is not looked at."""
    first_ns = report.records[0].stamp_ns if report.records else 0
    return [
        FrameEntry(
            time_s=(record.stamp_ns - first_ns) * 1e-9,
            is_answered=record.answered,
            stamp_ns=record.stamp_ns,
            class_shares=None,
            **entry_facts(record, report),
        )
        for record in report.records
    ]


def entry_facts(record: FrameRecord, report: PlayReport) -> dict[str, Any]:
    """What a report says of a frame, under the names of `FrameEntry`."""
    timing = record.timing or FrameTiming()
    causes = [cause for cause, count in report.dropped_by_cause.items() if count]
    # The node counts what it drops and does not name it: with one cause it is clear.
    is_clear = not record.answered and len(causes) == 1 and not report.unaccounted
    return {
        'is_keyframe': record.is_keyframe,
        'keyframe_age': None if record.timing is None else timing.keyframe_age,
        'latency_ms': math.nan if record.latency_ms is None else record.latency_ms,
        'stage_ms': record.stage_ms,
        'reason': timing.reason,
        'feature_age_ms': timing.feature_age_ms,
        'change_score': timing.change_score,
        'sent_s': record.sent_s,
        'received_s': math.nan if record.received_s is None else record.received_s,
        'drop_cause': causes[0] if is_clear else '',
    }
