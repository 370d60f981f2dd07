"""Writes what is left of a replay: report.json, report.html and frames.csv, or a summary."""

from __future__ import annotations

from collections.abc import Sequence
import csv
from dataclasses import asdict
import io
import math
from pathlib import Path
from typing import Any

from dcfm_ros.files import write_json, write_text
from dcfm_ros.replay.frames import ReplayedFrame, stages_of
from dcfm_ros.replay.pages.render import report_page
from dcfm_ros.replay.run import ReplayRun
from dcfm_ros.replay.statistics import benchmark_statistics, run_statistics

FORMAT_VERSION = 1
"""Of report.json: raised when a key changes its meaning."""
_SUMMARY = (
    'frames_sent', 'masks_received', 'frames_dropped', 'dropped_by_cause', 'keyframe_share',
    'keyframe_reasons', 'latency_ms', 'latency_ms_key', 'latency_ms_nonkey', 'keyframe_age',
)  # fmt: skip
_QUALITY = ('accuracy', 'agreement', 'changed', 'reference_changed', 'label_changed')


def write_report(folder: Path, run: ReplayRun) -> dict[str, Any]:
    """Write report.json, report.html and frames.csv beside the overlay video of a run.

    Each file appears as a whole; `into_folder` makes all of them appear together.

    Returns:
        The content of report.json.

    Raises:
        OSError: If a file cannot be written.
    """
    report = report_of(run)
    write_text(folder / 'frames.csv', frames_csv(run.frames))
    _write_page(folder, run, report)
    write_json(folder / 'report.json', report)
    return report


def write_summary(folder: Path, run: ReplayRun) -> dict[str, Any]:
    """Write report.html and summary.json, for a run that is looked at rather than compared.

    Returns:
        The content of summary.json: the options, and the statistics that matter most.
    """
    report = report_of(run)
    accuracy = report['accuracy'] or {'miou': None, 'mask_hold_miou': None, 'labelled_frames': 0}
    summary = {
        **{name: report[name] for name in _SUMMARY},
        **_as_the_node_counts(run, report['frames_dropped']),
        'stage_ms': {name: spread['mean'] for name, spread in report['stage_ms'].items()},
        **{name: accuracy[name] for name in ('miou', 'mask_hold_miou', 'labelled_frames')},
        'source': report['metadata']['input_path'],
        'rate_hz': report['stamps']['rate_hz'],
        'checkpoint': report['metadata']['checkpoint'],
        **report['metadata']['config'],
    }
    _write_page(folder, run, report)
    write_json(folder / 'summary.json', summary)
    return summary


def _write_page(folder: Path, run: ReplayRun, report: dict[str, Any]) -> None:
    video = run.video if (folder / run.video).exists() else ''
    write_text(folder / 'report.html', report_page(run, report, video))


def _as_the_node_counts(run: ReplayRun, missing: int) -> dict[str, Any]:
    """Frames without a mask, online: those that the node dropped, and the rest."""
    if run.transport is None:
        return {}
    timeline = run.transport['timeline']
    dropped = sum(timeline['dropped_by_cause'].values())
    return {
        'frames_dropped': dropped,
        'frames_unaccounted': missing - dropped,
        'dropped_by_cause': timeline['dropped_by_cause'],
        'unexpected_masks': timeline['unexpected_masks'],
    }


def report_of(run: ReplayRun) -> dict[str, Any]:
    """The content of report.json: fractions in [0, 1], times in ms, None where undefined."""
    return {
        'format_version': FORMAT_VERSION,
        'kind': run.kind,
        'name': run.name,
        **benchmark_statistics([run.frames]),
        **run_statistics([run.frames]),
        'accuracy': run.quality.accuracy_statistics(run.class_names),
        'fidelity': run.quality.fidelity_statistics(run.class_names),
        'losses': run.losses,
        'masks_sha256': run.masks_sha256,
        'resources': asdict(run.resources),
        'transport': run.transport,
        'metadata': run.metadata,
    }


def frames_csv(frames: Sequence[ReplayedFrame]) -> str:
    """One line per frame; empty where a value is unknown."""
    stages = stages_of(frames)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    for index, frame in enumerate(frames):
        numbers = {
            'feature_age_ms': frame.feature_age_ms,
            'change_score': frame.change_score,
            'latency_ms': frame.latency_ms,
            **{f'{name}_ms': frame.stage_ms.get(name, math.nan) for name in stages},
            **{name: frame.quality.get(name, math.nan) for name in _QUALITY},
        }
        row = {
            'index': index,
            'stamp_ns': frame.stamp_ns,
            'time_s': f'{frame.time_s:.6f}',
            'answered': int(frame.is_answered),
            'drop_cause': frame.drop_cause,
            'keyframe': '' if frame.is_answered and not frame.is_timed else int(frame.is_keyframe),
            'reason': frame.reason,
            'keyframe_age': frame.keyframe_age,
            **{n: '' if math.isnan(value) else f'{value:.4f}' for n, value in numbers.items()},
        }
        if not index:
            writer.writerow(row)
        writer.writerow(row.values())
    return text.getvalue()
