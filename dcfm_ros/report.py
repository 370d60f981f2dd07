"""The report of a run as one HTML page: figures, plots and example frames, all embedded."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
import html
import io
from pathlib import Path
from typing import Any

import cv2
import matplotlib

matplotlib.use('Agg')
from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.files import write_text
from dcfm_ros.recorder import FrameEntry, RunRecorder

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
  color: #1c2733; background: #fff }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin-top: 2rem }
p.note { color: #5a6875; margin-top: .2rem }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.tile { background: #f2f5f8; border-radius: 8px; padding: .6rem 1rem; min-width: 7.5rem }
.tile b { display: block; font-size: 1.4rem } .tile span { color: #5a6875; font-size: .85rem }
table { border-collapse: collapse } td, th { padding: .25rem .9rem .25rem 0; text-align: left }
td { font-variant-numeric: tabular-nums } tr { border-bottom: 1px solid #e3e8ed }
video, img, svg { max-width: 100%; height: auto } figure { margin: 0 0 .6rem }
"""

_DEEP, _SHALLOW = 'with deep encoder', 'without'
"""Frames on which the deep encoder was at work (in execution 'sync', keyframes), and others."""


def write_report(
    path: Path, title: str, summary: Mapping[str, Any], recorder: RunRecorder, video: str
) -> None:
    """Write the page.

    Args:
        path: The .html file; replaced as a whole.
        title: Heading.
        summary: Figures of the run (as in summary.json).
        recorder: The run.
        video: Link to the overlay video, relative to the page.
    """
    plots = [
        ('Latency over time', _latency_plot(recorder.entries)),
        ('Time per stage', _stage_plot(recorder.entries)),
        ('What was seen', _class_plot(recorder)),
    ]
    parts = [
        f'<h1>{html.escape(title)}</h1>',
        f'<p class="note">{html.escape(_subtitle(summary))}</p>',
        f'<div class="tiles">{"".join(_tiles(summary))}</div>',
        f'<video controls muted loop src="{html.escape(video)}"{_poster(recorder)}></video>',
        '<p class="note">Left: camera. Right: the mask that was published for that frame.</p>',
    ]
    for heading, plot in plots:
        parts.append(f'<h2>{html.escape(heading)}</h2><figure>{plot}</figure>')
    parts.append('<h2>Frames</h2>')
    parts += [f'<figure><img alt="frame" src="{_jpeg(s)}"></figure>' for s in recorder.snapshots]
    parts.append('<h2>All figures</h2>' + _table(summary))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>'
        f'<body>{"".join(parts)}</body></html>'
    )
    write_text(path, page)


def _poster(recorder: RunRecorder) -> str:
    return f' poster="{_jpeg(recorder.snapshots[0])}"' if recorder.snapshots else ''


def _subtitle(summary: Mapping[str, Any]) -> str:
    names = (
        'source', 'checkpoint', 'device', 'backend', 'keyframe_interval', 'execution', 'rate_hz',
    )  # fmt: skip
    return ' - '.join(f'{n.replace("_", " ")}: {summary[n]}' for n in names if n in summary)


def _tiles(summary: Mapping[str, Any]) -> list[str]:
    latency = summary.get('latency_ms', {})
    shown = [
        ('masks / frames', f'{summary["masks_received"]} / {summary["frames_sent"]}'),
        ('dropped', summary['frames_dropped']),
        ('latency p50', _number(latency.get('p50'), ' ms')),
        ('latency p95', _number(latency.get('p95'), ' ms')),
        ('keyframes', _number(summary.get('keyframe_share'), ' %', 100)),
    ]
    if summary.get('miou') is not None:
        shown.append(('mIoU', f'{summary["miou"]:.3f}'))
        shown.append(('mIoU, mask hold', f'{summary["mask_hold_miou"]:.3f}'))
    return [f'<div class="tile"><span>{n}</span><b>{v}</b></div>' for n, v in shown]


def _number(value: float | None, unit: str, factor: float = 1.0) -> str:
    return '-' if value is None else f'{value * factor:.1f}{unit}'


def _table(values: Mapping[str, Any]) -> str:
    rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            value = ', '.join(f'{key} {_plain(item)}' for key, item in value.items())
        rows.append(f'<tr><th>{html.escape(name)}</th><td>{html.escape(_plain(value))}</td></tr>')
    return f'<table>{"".join(rows)}</table>'


def _plain(value: Any) -> str:
    return f'{value:.3f}' if isinstance(value, float) else '-' if value is None else str(value)


def _latency_plot(entries: Sequence[FrameEntry]) -> str:
    figure = Figure(figsize=(10, 3.2), layout='constrained')
    axes = figure.subplots()
    groups = ((_SHALLOW, False, '#3b7dd8', 10), (_DEEP, True, '#d8663b', 26))
    for name, is_deep, colour, size in groups:
        chosen = [e for e in entries if e.is_answered and e.is_deep == is_deep]
        times, latencies = [e.time_s for e in chosen], [e.latency_ms for e in chosen]
        axes.scatter(times, latencies, s=size, color=colour, label=name, zorder=3)
    dropped = [e.time_s for e in entries if not e.is_answered]
    if dropped:
        axes.plot(dropped, [0.0] * len(dropped), 'x', color='#b00020', label='dropped')
    axes.set(xlabel='time of the frame [s]', ylabel='latency [ms]')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc='upper right', ncols=3)
    return _svg(figure)


def _stage_plot(entries: Sequence[FrameEntry]) -> str:
    figure = Figure(figsize=(10, 1.9), layout='constrained')
    axes = figure.subplots()
    names = list(dict.fromkeys(name for entry in entries for name in entry.stage_ms))
    for row, is_deep in enumerate((True, False)):
        left = 0.0
        for index, name in enumerate(names):
            values = [
                e.stage_ms[name]
                for e in entries
                if e.is_answered and e.is_deep == is_deep and name in e.stage_ms
            ]
            width = float(np.median(values)) if values else 0.0
            label = name if is_deep else None
            axes.barh(row, width, left=left, color=f'C{index}', label=label)
            left += width
        axes.text(left, row, f'  {left:.1f} ms', va='center')
    axes.set_yticks([0, 1], [_DEEP, _SHALLOW])
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel('median time [ms]')
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return _svg(figure)


def _class_plot(recorder: RunRecorder) -> str:
    figure = Figure(figsize=(10, 3.4), layout='constrained')
    axes = figure.subplots()
    seen = [e for e in recorder.entries if e.class_shares is not None]
    if not seen:
        return ''
    shares = np.stack([e.class_shares for e in seen if e.class_shares is not None])
    order = np.argsort(-shares.mean(0))[:12]
    order = order[shares.mean(0)[order] > 0]
    axes.stackplot(
        [e.time_s for e in seen],
        100 * shares[:, order].T,
        labels=[recorder.class_names[i] for i in order],
        colors=[np.array(recorder.palette[i]) / 255 for i in order],
    )
    axes.set(xlabel='time of the frame [s]', ylabel='share of the image [%]', ylim=(0, 100))
    axes.margins(x=0)
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg')
    text = buffer.getvalue()
    return text[text.index('<svg') :]


def _jpeg(image: Any) -> str:
    is_written, data = cv2.imencode('.jpg', image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert is_written
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
