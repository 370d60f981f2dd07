"""The page of a fleet: a row per recording, and plots over all of their frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dcfm_ros.replay.pages import spread_plots
from dcfm_ros.replay.pages.render import render, svg
from dcfm_ros.replay.pages.report_page import subtitle, versus
from dcfm_ros.replay.run import ReplayRun

_COLUMNS = {
    'frames': 'frames',
    'keyframe_share': 'keyframes',
    'latency_ms_p50': 'p50 [ms]',
    'latency_ms_p95': 'p95 [ms]',
    'latency_ms_p99': 'p99 [ms]',
    'latency_ms_max': 'max [ms]',
    'miou': 'mIoU',
    'mvc8': 'mVC8',
    'streaming_miou': 'streaming mIoU',
    'fidelity_miou': 'mIoU to per-frame',
    'fidelity_pixels': 'same pixels as per-frame',
    'gaps': 'gaps',
}


def fleet_page(fleet: Mapping[str, Any], runs: Sequence[ReplayRun]) -> str:
    """The page as HTML.

    Args:
        fleet: As in fleet.json.
        runs: The recordings that did not fail.
    """
    rows, totals = fleet['rows'], fleet['totals']
    frames = [frame for run in runs for frame in run.frames]
    plots: dict[str, Any] = {}
    if totals:
        compared = totals['accuracy'] or totals['fidelity']
        plots = {
            'latency': spread_plots.latency_by_recording([r for r in rows if not r['error']]),
            'latency_distribution': spread_plots.latency_distribution(frames),
            'stages': spread_plots.stages(frames),
            'by_age': spread_plots.by_age(compared),
            'class_ious': spread_plots.class_ious(compared),
        }
    return render(
        'fleet.html',
        title=f'Replay of {len(rows)} recordings',
        subtitle=subtitle(fleet['metadata']),
        fleet=fleet,
        losses=[f'{row["bag"]} failed: {row["error"]}' for row in rows if row['error']]
        + [f'{row["bag"]}: {loss}' for row in rows for loss in row.get('losses', ())],
        columns={
            key: heading
            for key, heading in _COLUMNS.items()
            if any(row.get(key) is not None for row in rows)
        },
        versus=versus(totals) if totals else '',
        plots={name: svg(plot) for name, plot in plots.items()},
        all_frames=_all_frames(totals) if totals else {},
    )


def _all_frames(totals: Mapping[str, Any]) -> dict[str, Any]:
    """The totals without tables and without the keys of ros2_benchmark."""
    left_out = ('accuracy', 'fidelity', 'stamps', 'stage_ms')
    shown = {n: value for n, value in totals.items() if n not in left_out and '.' not in n}
    for kind in ('accuracy', 'fidelity'):
        for name, value in (totals[kind] or {}).items():
            if name not in ('iou', 'by_age'):
                shown[f'{kind}: {name}'] = value
    return shown
