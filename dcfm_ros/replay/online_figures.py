"""Figures of frames that were played to a node: those of ros2_benchmark, and what they lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dcfm_ros.benchmark.node_share import summarise
from dcfm_ros.play_report import FrameRecord, PlayReport

_LARGEST = ('MAX_LATENCY', 'MAX_JITTER', 'MEAN_JITTER')
_SMALLEST = ('MIN_LATENCY', 'MIN_JITTER')


def benchmark_figures(records: Sequence[FrameRecord]) -> dict[str, float]:
    """The figures of one run under the keys of ros2_benchmark, times in ms, rates in Hz.

    Latencies are matched by stamp. Jitter is the second difference of the times at which masks
    come. A key is absent where too few frames came back for it.
    """
    sent = [record.sent_s for record in records]
    received = sorted(r.received_s for r in records if r.received_s is not None)
    latencies = [r.latency_ms for r in records if r.latency_ms is not None]
    figures: dict[str, float] = {
        'NUM_FRAMES_SENT': len(sent),
        'NUM_MISSED_FRAMES': len(sent) - len(received),
    }
    if len(sent) > 1:
        figures['MEAN_PLAYBACK_FRAME_RATE'] = len(sent) / (sent[-1] - sent[0])
    if received:
        figures |= {
            'RECEIVED_DURATION': (received[-1] - received[0]) * 1e3,
            'FIRST_SENT_RECEIVED_LATENCY': (received[0] - sent[0]) * 1e3,
            'LAST_SENT_RECEIVED_LATENCY': (received[-1] - sent[-1]) * 1e3,
            'FIRST_INPUT_LATENCY': latencies[0],
            'LAST_INPUT_LATENCY': latencies[-1],
            'MAX_LATENCY': max(latencies),
            'MIN_LATENCY': min(latencies),
            'MEAN_LATENCY': float(np.mean(latencies)),
        }
    if len(received) > 1:
        figures['MEAN_FRAME_RATE'] = len(received) / (received[-1] - received[0])
    if len(received) > 2:
        jitter = np.abs(np.diff(received, n=2)) * 1e3
        figures |= {
            'MAX_JITTER': float(jitter.max()),
            'MIN_JITTER': float(jitter.min()),
            'MEAN_JITTER': float(jitter.mean()),
            'STD_DEV_JITTER': float(jitter.std()),
        }
    return figures


def conclude(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Put the figures of several runs together, by ros2_benchmark's rule.

    Of every figure the best and the worst are dropped, if there are more than two; then the mean
    of the rest is taken, of maxima (and the mean jitter) the largest, of minima the smallest. A
    figure that a run lacks is left out.
    """
    concluded = {}
    for name in runs[0]:
        values = sorted(run[name] for run in runs if name in run)
        if len(values) < len(runs):
            continue
        rest = values[1:-1] if len(values) > 2 else values
        if name in _LARGEST:
            concluded[name] = rest[-1]
        elif name in _SMALLEST:
            concluded[name] = rest[0]
        else:
            concluded[name] = float(np.mean(rest))
    return concluded


def own_figures(reports: Sequence[PlayReport]) -> dict[str, Any]:
    """What ros2_benchmark does not tell, of all frames of some runs; times in ms.

    'latency_ms' from sending a frame to receiving its mask, split by what the frame was;
    'node_latency_ms' from callback to publication; 'share_ms' that without the engine;
    'transport_ms' the rest, both ways; 'stage_ms' means; 'never_arrived' frames that the
    middleware lost; 'lost_masks' those that were published but did not come back.
    """
    records = [record for report in reports for record in report.records]
    answered = [record for record in records if record.answered]
    timed = [record for record in answered if record.timing]
    causes = dict.fromkeys(cause for report in reports for cause in report.dropped_by_cause)
    dropped = {
        cause: sum(report.dropped_by_cause.get(cause, 0) for report in reports) for cause in causes
    }
    never_arrived = sum(report.never_arrived for report in reports)
    unaccounted = sum(report.unaccounted for report in reports)
    keyframes = [record for record in timed if record.is_keyframe]
    others = [record for record in timed if not record.is_keyframe]
    return {
        'sent': len(records),
        'answered': len(answered),
        'dropped_by_cause': dropped,
        'never_arrived': never_arrived,
        'lost_masks': unaccounted - (never_arrived - dropped.get('lost', 0)),
        'unexpected_masks': sum(report.unexpected_masks for report in reports),
        'keyframe_share': len(keyframes) / len(timed) if timed else None,
        'latency_ms': percentiles(_latencies(answered)),
        'latency_ms_key': percentiles(_latencies(keyframes)),
        'latency_ms_nonkey': percentiles(_latencies(others)),
        **_node_figures(timed),
    }


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """'p50', 'p95', 'p99' and 'max'; None if there are no values."""
    names = {'p50': 50, 'p95': 95, 'p99': 99, 'max': 100}
    if not len(values):
        return dict.fromkeys(names)
    return {name: float(np.percentile(values, q)) for name, q in names.items()}


def _node_figures(timed: Sequence[FrameRecord]) -> dict[str, Any]:
    if not timed:
        return {}
    stages = dict.fromkeys(name for record in timed for name in record.stage_ms)
    inside = [float(record.timing['latency_ms']) for record in timed]
    outside = [t - i for t, i in zip(_latencies(timed), inside, strict=True)]
    told = summarise([record.timing for record in timed])
    return {
        'node_latency_ms': told['latency_ms'],
        'share_ms': told['share_ms'],
        'wait_ms': told['wait_ms'],
        'transport_ms': percentiles(outside),
        'stage_ms': {
            name: float(np.mean([r.stage_ms[name] for r in timed if name in r.stage_ms]))
            for name in stages
        },
    }


def _latencies(records: Sequence[FrameRecord]) -> list[float]:
    return [record.latency_ms for record in records if record.latency_ms is not None]
