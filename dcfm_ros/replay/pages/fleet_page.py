"""The page of a fleet: a row per recording, and plots over all of their frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import html
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from dcfm_ros.replay.pages.parts import note, number, page, plot, section, table, tiles, warning
from dcfm_ros.replay.pages.replay_plots import by_age, class_ious, latency_distribution
from dcfm_ros.replay.pages.run_plots import COLOURS, plot_axes, stage_plot
from dcfm_ros.replay.run import ReplayRun

_SHOWN = {
    'frames': ('frames', '', 1, 0),
    'keyframe_share': ('keyframes', ' %', 100, 1),
    'latency_ms_p50': ('p50 [ms]', '', 1, 1),
    'latency_ms_p95': ('p95 [ms]', '', 1, 1),
    'latency_ms_p99': ('p99 [ms]', '', 1, 1),
    'latency_ms_max': ('max [ms]', '', 1, 1),
    'miou': ('mIoU', '', 1, 3),
    'mvc8': ('mVC8', '', 1, 3),
    'streaming_miou': ('streaming mIoU', '', 1, 3),
    'fidelity_miou': ('mIoU to per-frame', '', 1, 3),
    'fidelity_pixels': ('as per-frame', ' %', 100, 1),
    'gaps': ('gaps', '', 1, 0),
}
"""Columns: heading, unit, factor, digits."""


def fleet_html(figures: Mapping[str, Any], runs: Sequence[ReplayRun]) -> str:
    """The page as a whole.

    Args:
        figures: As in fleet.json.
        runs: The recordings that did not fail.
    """
    rows, totals = figures['rows'], figures['totals']
    told = [f'{row["bag"]} failed: {row["error"]}' for row in rows if row['error']]
    told += [f'{row["bag"]}: {loss}' for row in rows for loss in row.get('losses', ())]
    frames = [frame for run in runs for frame in run.frames]
    parts = [note(_subtitle(figures)), warning(told), tiles(_tiles(figures))]
    parts += [section('Recordings', _rows(rows))]
    if totals:
        compared = totals['accuracy'] or totals['fidelity']
        versus = 'labels' if totals['accuracy'] else 'the per-frame network'
        parts += [
            section('Latency by recording', plot(_latency_plot(rows))),
            section('Latency of all frames', plot(latency_distribution(frames))),
            section('Time per stage', plot(stage_plot(frames))),
            section(f'By the age of the feature, against {versus}', plot(by_age(compared))),
            section(f'IoU per class, against {versus}', plot(class_ious(compared))),
            section('All frames together', table(_totals(totals))),
        ]
    parts.append(section('Where this comes from', table(figures['metadata'])))
    return page(f'Replay of {len(rows)} recordings', parts)


def _subtitle(figures: Mapping[str, Any]) -> str:
    config = figures['metadata'].get('config', {})
    told = {'checkpoint': figures['metadata'].get('checkpoint'), **config}
    return ' - '.join(f'{n.replace("_", " ")}: {v}' for n, v in told.items() if v is not None)


def _tiles(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    good = len(figures['rows']) - len(figures['failed'])
    shown: list[tuple[str, Any]] = [('recordings', f'{good} / {len(figures["rows"])}')]
    if totals := figures['totals']:
        latency = totals['latency_ms']
        shown += [
            ('frames', totals['frames_sent']),
            ('latency p50', number(latency['p50'], ' ms')),
            ('latency p99', number(latency['p99'], ' ms')),
            ('keyframes', number(totals['keyframe_share'], ' %', 100)),
        ]
        if accuracy := totals['accuracy']:
            shown.append(('mIoU', number(accuracy['miou'], digits=3)))
        if fidelity := totals['fidelity']:
            shown.append(('pixels as per-frame', number(fidelity['pixel_accuracy'], ' %', 100)))
    return shown


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of recordings, each with a link to its own report."""
    shown = {k: v for k, v in _SHOWN.items() if any(row.get(k) is not None for row in rows)}
    head = ''.join(f'<th>{html.escape(heading)}</th>' for heading, *_ in shown.values())
    lines = []
    for row in rows:
        name = html.escape(row['report'])
        if row['error']:
            lines.append(f'<td>{name}</td><td class="worse">failed</td>')
            continue
        cells = ''.join(
            f'<td>{number(row[key], unit, factor, digits)}</td>'
            for key, (_, unit, factor, digits) in shown.items()
        )
        link = f'{quote(row["report"])}/report.html'
        lines.append(f'<td><a href="{link}">{name}</a></td>{cells}')
    body = ''.join(f'<tr>{line}</tr>' for line in lines)
    return (
        f'<div class="wide"><table class="rows"><tr><th>recording</th>{head}</tr>{body}'
        '</table></div>'
    )


def _latency_plot(rows: Sequence[Mapping[str, Any]]) -> Figure:
    good = [row for row in rows if not row['error']]
    figure, axes = plot_axes(0.8 + 0.3 * len(good))
    for index, row in enumerate(good):
        p50, p99 = row['latency_ms_p50'], row['latency_ms_p99']
        axes.plot([p50, p99], [index, index], color=COLOURS[False], lw=2)
        axes.plot(p50, index, 'o', color=COLOURS[False], label='p50' if not index else None)
        axes.plot(p99, index, '|', ms=12, color=COLOURS[False], label=None if index else 'p99')
        axes.plot(
            row['latency_ms_max'],
            index,
            '.',
            color=COLOURS[True],
            label=None if index else 'max',
        )
    axes.set_yticks(range(len(good)), [row['report'] for row in good])
    axes.set(xlabel='latency [ms]', ylim=(len(good) - 0.5, -0.5))
    axes.set_xlim(left=0)
    axes.grid(axis='x', alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def _totals(totals: Mapping[str, Any]) -> dict[str, Any]:
    left_out = ('accuracy', 'fidelity', 'stamps', 'stage_ms')
    shown = {
        name: value
        for name, value in totals.items()
        if name not in left_out and '.' not in name  # the keys of ros2_benchmark are in the JSON
    }
    for kind in ('accuracy', 'fidelity'):
        for name, value in (totals[kind] or {}).items():
            if name not in ('iou', 'by_age'):
                shown[f'{kind}: {name}'] = value
    return shown
