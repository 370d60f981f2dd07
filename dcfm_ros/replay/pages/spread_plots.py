"""Plots of how values are spread. Each gives None if there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from dcfm_ros.replay.frames import ReplayedFrame, stages_of
from dcfm_ros.replay.pages.axes import (
    COLOURS,
    DARK,
    DEEP,
    GREY,
    SHALLOW,
    legend_above,
    legend_beside,
    plot_axes,
)

Frames = Sequence[ReplayedFrame]
_NUM_BINS = 60


def latency_distribution(frames: Frames) -> Figure | None:
    """Histogram of the latency, and the share of frames that are done by then."""
    answered = [f for f in frames if f.is_answered and not math.isnan(f.latency_ms)]
    if not answered:
        return None
    figure, axes = plot_axes(3.0)
    every = [f.latency_ms for f in answered]
    p50, p95, p99 = np.percentile(every, [50, 95, 99])
    # One hiccup of the machine would squeeze all others into the first bin.
    end = min(max(every), 3 * float(p99)) or 1.0
    bins = np.linspace(0, end, _NUM_BINS + 1).tolist()
    for name, is_deep in ((SHALLOW, False), (DEEP, True)):
        chosen = np.clip([f.latency_ms for f in answered if f.is_deep == is_deep], 0, end)
        axes.hist(chosen, bins, color=COLOURS[is_deep], alpha=0.75, label=name)
    axes.set(xlabel='latency [ms]', ylabel='frames', xlim=(0, end))
    shares = axes.twinx()
    _cumulative(shares, every, DARK, 'all, cumulative')
    shares.set(ylabel='frames done [%]', ylim=(0, 102))
    for name, value in (('p50', p50), ('p95', p95), ('p99', p99)):
        if value <= end:
            axes.axvline(value, color=GREY, lw=0.8, ls=':')
            side = 'left' if value < 0.95 * end else 'right'
            axes.text(value, axes.get_ylim()[1], f' {name} ', ha=side, va='top', fontsize=8)
    handles = [*axes.get_legend_handles_labels()[0], *shares.get_legend_handles_labels()[0]]
    axes.legend(
        handles=handles, loc='lower right', bbox_to_anchor=(1, 1), ncols=3, fontsize=8,
        frameon=False,
    )  # fmt: skip
    return figure


def latency_of_two(latencies: Sequence[Sequence[float]]) -> Figure | None:
    """Share of the frames of two runs that are done, by latency in ms."""
    if not latencies:
        return None
    figure, axes = plot_axes(3.0)
    for name, is_first, values in zip(('first', 'second'), (False, True), latencies, strict=True):
        _cumulative(axes, values, COLOURS[is_first], name)
    end = max(3 * float(np.percentile(values, 99)) for values in latencies)
    longest = max(max(values) for values in latencies)
    axes.set(xlabel='latency [ms]', ylabel='frames done [%]', xlim=(0, min(end, longest) or 1.0))
    legend_above(axes)
    return figure


def latency_by_recording(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Percentiles of the latency, a line per row of a fleet."""
    figure, axes = plot_axes(0.8 + 0.3 * len(rows))
    places = range(len(rows))
    p50, p99 = ([row[f'latency_ms_{name}'] for row in rows] for name in ('p50', 'p99'))
    axes.hlines(places, p50, p99, color=COLOURS[False], lw=2)
    axes.plot(p50, places, 'o', color=COLOURS[False], label='p50')
    axes.plot(p99, places, '|', ms=12, color=COLOURS[False], label='p99')
    longest = [row['latency_ms_max'] for row in rows]
    axes.plot(longest, places, '.', color=COLOURS[True], label='max')
    axes.set_yticks(places, [row['report'] for row in rows])
    axes.set(xlabel='latency [ms]', ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlim(left=0)
    legend_beside(axes)
    return figure


def stages(frames: Frames) -> Figure:
    """Median time of every stage, on frames with and without the deep encoder."""
    figure, axes = plot_axes(1.9)
    longest = 0.0
    for row, is_deep in enumerate((True, False)):
        left = 0.0
        chosen = [f.stage_ms for f in frames if f.is_answered and f.is_deep == is_deep]
        for index, name in enumerate(stages_of(frames)):
            values = [stage_ms[name] for stage_ms in chosen if name in stage_ms]
            width = float(np.median(values)) if values else 0.0
            label = name if is_deep else None
            axes.barh(row, width, left=left, color=f'C{index}', label=label)
            left += width
        axes.text(left, row, f'  {left:.1f} ms', va='center')
        longest = max(longest, left)
    axes.set_yticks([0, 1], [DEEP, SHALLOW])
    axes.set_xlim(0, 1.14 * longest or 1.0)  # room for the number
    axes.invert_yaxis()
    axes.set_xlabel('median time [ms]')
    legend_beside(axes)
    return figure


def class_ious(quality: Mapping[str, Any] | None) -> Figure | None:
    """IoU of every class that occurs."""
    known = {n: v for n, v in ((quality or {}).get('iou') or {}).items() if v is not None}
    if not known:
        return None
    figure, axes = plot_axes(0.6 + 0.24 * len(known))
    names = sorted(known, key=lambda name: known[name])
    bars = axes.barh(names, [known[name] for name in names], color=COLOURS[False])
    axes.bar_label(bars, fmt=' %.2f', fontsize=8)
    axes.set(xlabel='IoU', xlim=(0, 1.08))
    return figure


def by_age(quality: Mapping[str, Any] | None) -> Figure | None:
    """Quality of the masks by the age of their common feature."""
    rows = (quality or {}).get('by_age') or []
    if len(rows) < 2:
        return None
    figure, axes = plot_axes(2.6)
    for name, key, colour in (
        ('mIoU', 'miou', COLOURS[False]),
        ('pixels of the same class', 'pixel_accuracy', GREY),
    ):
        known = [(row['age'], row[key]) for row in rows if row[key] is not None]
        axes.plot(*zip(*known, strict=True), 'o-', color=colour, label=name)
    axes.set(xlabel='age of the common feature [frames]', ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    return figure


def _cumulative(axes: Axes, values: Sequence[float], colour: str, name: str) -> None:
    shares = 100 * np.arange(1, len(values) + 1) / len(values)
    axes.step(np.sort(values), shares, where='post', color=colour, lw=1.2, label=name)
