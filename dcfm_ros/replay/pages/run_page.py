"""The report of a demo as one HTML page: figures, plots and example frames, all embedded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcfm_ros.files import write_text
from dcfm_ros.replay.pages.parts import (
    note,
    number,
    page,
    picture,
    plot,
    section,
    table,
    tiles,
    video,
)
from dcfm_ros.replay.pages.run_plots import class_plot, latency_plot, stage_plot
from dcfm_ros.replay.recorder import RunRecorder


def write_report(
    path: Path, title: str, summary: Mapping[str, Any], recorder: RunRecorder, video_file: str
) -> None:
    """Write the page.

    Args:
        path: The .html file; replaced as a whole.
        title: Heading.
        summary: Figures of the run (as in summary.json).
        recorder: The run.
        video_file: Link to the overlay video, relative to the page.
    """
    entries = recorder.entries
    seen = class_plot(entries, recorder.class_names, recorder.palette)
    parts = [
        note(_subtitle(summary)),
        tiles(_shown(summary)),
        video(video_file, recorder.snapshots),
        note('Left: camera. Right: the mask that was published for that frame.'),
        section('Latency over time', plot(latency_plot(entries))),
        section('Time per stage', plot(stage_plot(entries))),
        section('What was seen', plot(seen)),
        section('Frames', *(picture(snapshot) for snapshot in recorder.snapshots)),
        section('All figures', table(summary)),
    ]
    write_text(path, page(title, parts))


def _subtitle(summary: Mapping[str, Any]) -> str:
    names = (
        'source', 'checkpoint', 'device', 'backend', 'keyframe_interval', 'execution', 'rate_hz',
    )  # fmt: skip
    return ' - '.join(f'{n.replace("_", " ")}: {summary[n]}' for n in names if n in summary)


def _shown(summary: Mapping[str, Any]) -> list[tuple[str, Any]]:
    latency = summary.get('latency_ms', {})
    shown = [
        ('masks / frames', f'{summary["masks_received"]} / {summary["frames_sent"]}'),
        ('dropped', summary['frames_dropped']),
        ('latency p50', number(latency.get('p50'), ' ms')),
        ('latency p95', number(latency.get('p95'), ' ms')),
        ('keyframes', number(summary.get('keyframe_share'), ' %', 100)),
    ]
    if summary.get('miou') is not None:
        shown.append(('mIoU', f'{summary["miou"]:.3f}'))
        shown.append(('mIoU, mask hold', f'{summary["mask_hold_miou"]:.3f}'))
    return shown
