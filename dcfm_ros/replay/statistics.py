"""Statistics of replayed recordings: of one, or of many together.

A recording is a sequence of frames. Percentiles of many are over all of their frames; the last
frame of one is never compared with the first of the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.percentiles import percentiles, spread
from dcfm_ros.replay.frames import ReplayedFrame, stages_of

Recordings = Sequence[Sequence[ReplayedFrame]]

GAP = 1.5
"""A step between stamps longer than this many usual ones means that a frame is missing."""
_NUM_GAPS = 20
"""Gaps that the report lists; all are counted."""


def run_statistics(recordings: Recordings) -> dict[str, Any]:
    """What became of the frames; fractions in [0, 1], times in ms, None where undefined.

    'key' is of frames on which the deep encoder worked, 'nonkey' of the others. Frames of which
    that is not known, as they have no timing, are left out of all that tells them apart.
    """
    frames = [frame for recording in recordings for frame in recording]
    answered = [frame for frame in frames if frame.is_answered]
    timed = [frame for frame in answered if frame.is_timed]
    keyframes = [frame for frame in timed if frame.is_keyframe]
    causes = Counter(frame.drop_cause or 'unknown' for frame in frames if not frame.is_answered)
    return {
        'frames_sent': len(frames),
        'masks_received': len(answered),
        'frames_dropped': len(frames) - len(answered),
        'dropped_by_cause': dict(causes),
        'latency_ms': spread(frame.latency_ms for frame in answered),
        'latency_ms_key': spread(f.latency_ms for f in timed if f.is_deep),
        'latency_ms_nonkey': spread(f.latency_ms for f in timed if not f.is_deep),
        'jitter_ms': spread(_joined(_jitter_ms(recording) for recording in recordings)),
        'keyframes': len(keyframes) if timed else None,
        'keyframe_share': len(keyframes) / len(timed) if timed else None,
        'keyframe_reasons': dict(Counter(frame.reason or 'unknown' for frame in keyframes)),
        'deep_share': _mean([float(frame.is_deep) for frame in timed]),
        'keyframe_age': spread(float(f.keyframe_age) for f in timed if f.keyframe_age is not None),
        'feature_age_ms': spread(frame.feature_age_ms for frame in answered),
        'stage_ms': _stages(answered),
        'stamps': stamp_statistics(recordings),
        'temporal': _temporal(answered),
    }


def benchmark_statistics(recordings: Recordings) -> dict[str, Any]:
    """The same run under the keys of ros2_benchmark, by its formulas; times in ms, rates in Hz.

    The durations of many recordings add up, as if they were one long run.
    """
    frames = [frame for recording in recordings for frame in recording]
    answered = [frame for frame in frames if frame.is_answered]
    latencies = [f.latency_ms for f in answered if not math.isnan(f.latency_ms)]
    sent_ms = sum(_duration_ms([f.sent_s for f in r]) for r in recordings)
    received_ms = sum(_duration_ms(_received_s(r)) for r in recordings)
    jitter = _joined(_jitter_ms(recording) for recording in recordings)
    ends_ms = [(answered[i].received_s - frames[i].sent_s) * 1e3 for i in (0, -1) if answered]
    first_ms, last_ms = ends_ms or (None, None)
    found = {
        'RECEIVED_DURATION': received_ms or None,
        'MEAN_PLAYBACK_FRAME_RATE': len(frames) / sent_ms * 1e3 if sent_ms else None,
        'MEAN_FRAME_RATE': len(answered) / received_ms * 1e3 if received_ms else None,
        'NUM_MISSED_FRAMES': len(frames) - len(answered),
        'NUM_FRAMES_SENT': len(frames),
        'FIRST_SENT_RECEIVED_LATENCY': first_ms,
        'LAST_SENT_RECEIVED_LATENCY': last_ms,
        'FIRST_INPUT_LATENCY': latencies[0] if latencies else None,
        'LAST_INPUT_LATENCY': latencies[-1] if latencies else None,
        'MAX_LATENCY': max(latencies, default=None),
        'MIN_LATENCY': min(latencies, default=None),
        'MEAN_LATENCY': _mean(latencies),
        'MAX_JITTER': max(jitter, default=None),
        'MIN_JITTER': min(jitter, default=None),
        'MEAN_JITTER': _mean(jitter),
        'STD_DEV_JITTER': float(np.std(jitter)) if jitter else None,
    }
    return {f'BasicPerformanceMetrics.{name}': value for name, value in found.items()}


def stamp_statistics(recordings: Recordings) -> dict[str, Any]:
    """Rate by the header stamps, missing frames, and steps back or of nothing."""
    steps_ms = [np.diff([f.stamp_ns for f in recording]) / 1e6 for recording in recordings]
    rising = _joined(step_ms[step_ms > 0].tolist() for step_ms in steps_ms)
    gaps: list[dict[str, Any]] = []
    for recording, step_ms in zip(recordings, steps_ms, strict=True):
        # Each recording has its own rate.
        usual_ms = float(np.median(step_ms[step_ms > 0])) if (step_ms > 0).any() else math.nan
        for index in np.flatnonzero(step_ms > GAP * usual_ms).tolist():
            gap_ms = float(step_ms[index])
            missing = max(1, round(gap_ms / usual_ms) - 1)
            time_s = round(recording[index + 1].time_s, 3)
            gaps.append({'time_s': time_s, 'gap_ms': round(gap_ms, 3), 'missing': missing})
    duration_s = sum(_duration_ms([f.time_s for f in recording]) for recording in recordings) / 1e3
    return {
        'rate_hz': round(1e3 / float(np.median(rising)), 3) if rising else None,
        'duration_s': round(duration_s, 3),
        'steps_back': int(sum((step_ms < 0).sum() for step_ms in steps_ms)),
        'equal_stamps': int(sum((step_ms == 0).sum() for step_ms in steps_ms)),
        'gaps': len(gaps),
        'frames_missing': sum(gap['missing'] for gap in gaps),
        'longest_gaps': sorted(gaps, key=lambda gap: -gap['gap_ms'])[:_NUM_GAPS],
    }


def _stages(answered: Sequence[ReplayedFrame]) -> dict[str, dict[str, float | None]]:
    """By stage: spread, and medians on frames with and without the deep encoder."""
    found = {}
    for name in stages_of(answered):
        timed = [frame for frame in answered if name in frame.stage_ms]
        found[name] = spread(frame.stage_ms[name] for frame in timed) | {
            'key': percentiles(f.stage_ms[name] for f in timed if f.is_deep)['p50'],
            'nonkey': percentiles(f.stage_ms[name] for f in timed if not f.is_deep)['p50'],
        }
    return found


def _temporal(answered: Sequence[ReplayedFrame]) -> dict[str, Any]:
    """Flicker: mean share of the pixels whose class differs from the frame before.

    Nothing is warped, so motion counts too. Compare with the per-frame network or the labels over
    the same frames.
    """
    both = [f.quality for f in answered if {'changed', 'reference_changed'} <= f.quality.keys()]
    changed, reference = (sum(q[n] for q in both) for n in ('changed', 'reference_changed'))
    return {
        **{
            name: _mean([f.quality[name] for f in answered if name in f.quality])
            for name in ('changed', 'reference_changed', 'label_changed')
        },
        'relative_to_reference': changed / reference if reference else None,
    }


def _received_s(recording: Sequence[ReplayedFrame]) -> list[float]:
    return [f.received_s for f in recording if f.is_answered and not math.isnan(f.received_s)]


def _jitter_ms(recording: Sequence[ReplayedFrame]) -> list[float]:
    """Absolute second differences of the times at which masks arrived."""
    received_ms: NDArray[np.float64] = np.array(_received_s(recording)) * 1e3
    jitter: list[float] = np.abs(np.diff(received_ms, 2)).tolist()
    return jitter


def _duration_ms(times_s: Sequence[float]) -> float:
    known = [time_s for time_s in times_s if not math.isnan(time_s)]
    return (max(known) - min(known)) * 1e3 if known else 0.0


def _joined(parts: Iterable[Iterable[float]]) -> list[float]:
    return [value for part in parts for value in part]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
