"""Plots of a replay report. Each takes what it shows and gives None where there is nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from dcfm_ros.replay.pages.run_plots import COLOURS, DEEP, SHALLOW, legend_above, plot_axes
from dcfm_ros.replay.recorder import FrameEntry

_OTHER = '#8a97a5'
_NUM_BINS = 60


def latency_distribution(entries: Sequence[FrameEntry]) -> Figure | None:
    """Histogram of the latency, and the share of frames that are done by then."""
    answered = [e for e in entries if e.is_answered and not math.isnan(e.latency_ms)]
    if not answered:
        return None
    figure, axes = plot_axes(3.0)
    every = np.array([e.latency_ms for e in answered])
    # One hiccup of the machine would press all others into the first bin.
    end = min(float(every.max()), 3 * float(np.percentile(every, 99))) or 1.0
    bins = np.linspace(0, end, _NUM_BINS + 1)
    for name, is_deep in ((SHALLOW, False), (DEEP, True)):
        chosen = [e.latency_ms for e in answered if e.is_deep == is_deep]
        axes.hist(
            np.clip(chosen, 0, end), bins.tolist(), color=COLOURS[is_deep], alpha=0.75, label=name
        )
    axes.set(xlabel='latency [ms]', ylabel='frames', xlim=(0, end))
    shares = axes.twinx()
    shares.step(
        np.sort(every),
        100 * np.arange(1, len(every) + 1) / len(every),
        where='post',
        color='#1c2733',
        lw=1.2,
        label='all, at most so much',
    )
    shares.set(ylabel='frames done [%]', ylim=(0, 102))
    for percentile in (50, 95, 99):
        value = float(np.percentile(every, percentile))
        if value <= end:
            axes.axvline(value, color=_OTHER, lw=0.8, ls=':')
            side = 'left' if value < 0.95 * end else 'right'
            axes.text(value, axes.get_ylim()[1], f' p{percentile} ', ha=side, va='top', fontsize=8)
    handles = [*axes.get_legend_handles_labels()[0], *shares.get_legend_handles_labels()[0]]
    above = {'loc': 'lower right', 'bbox_to_anchor': (1.0, 1.0), 'ncols': 3}
    axes.legend(handles=handles, fontsize=8, frameon=False, **above)
    return figure


def keyframe_timeline(entries: Sequence[FrameEntry]) -> Figure | None:
    """Age of the feature in use over time, and the keyframes with their reasons."""
    aged = [e for e in entries if e.keyframe_age is not None]
    if not aged:
        return None
    figure, axes = plot_axes(2.6)
    times, ages = [e.time_s for e in aged], [e.keyframe_age or 0 for e in aged]
    axes.step(times, ages, where='post', color=_OTHER, lw=1, label='age of the feature')
    reasons = list(dict.fromkeys(e.reason or 'unknown' for e in entries if e.is_keyframe))
    for index, reason in enumerate(reasons):
        of_it = [e for e in entries if e.is_keyframe and (e.reason or 'unknown') == reason]
        axes.scatter(
            [e.time_s for e in of_it],
            [e.keyframe_age or 0 for e in of_it],
            s=24,
            color=f'C{index}',
            zorder=3,
            label=f'{reason} ({len(of_it)})',
        )
    axes.set(xlabel='time of the frame [s]', ylabel='age [frames]')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=-0.3)
    axes.grid(alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def class_ious(figures: Mapping[str, Any] | None) -> Figure | None:
    """IoU of every class that occurs."""
    known = {n: v for n, v in ((figures or {}).get('iou') or {}).items() if v is not None}
    if not known:
        return None
    figure, axes = plot_axes(0.6 + 0.24 * len(known))
    names = sorted(known, key=lambda name: known[name])
    axes.barh(range(len(names)), [known[name] for name in names], color=COLOURS[False])
    for row, name in enumerate(names):
        axes.text(known[name], row, f' {known[name]:.2f}', va='center', fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='IoU', xlim=(0, 1.08))
    axes.grid(axis='x', alpha=0.3)
    return figure


def by_age(figures: Mapping[str, Any] | None) -> Figure | None:
    """Figures of the mask by the age of the feature that it was made with."""
    rows = (figures or {}).get('by_age') or []
    if len(rows) < 2:
        return None
    figure, axes = plot_axes(2.6)
    for name, key, colour in (
        ('mIoU', 'miou', COLOURS[False]),
        ('pixels that agree', 'pixel_accuracy', _OTHER),
    ):
        known = [(row['age'], row[key]) for row in rows if row[key] is not None]
        axes.plot(*zip(*known, strict=True), 'o-', color=colour, label=name)
    axes.set(xlabel='age of the feature [frames]', ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc='lower left', fontsize=8)
    return figure


_RIGHT = (
    ('right, of the labelled ones', 'accuracy', '#1d7a3a', '-'),
    ('as the per-frame network says', 'agreement', COLOURS[False], '-'),
)
_CHANGED = (
    ('masks', 'changed', COLOURS[True], '-'),
    ('masks of the per-frame network', 'reference_changed', _OTHER, '-'),
    ('labels', 'label_changed', '#1c2733', ':'),
)
"""Lines over time: name, key in `FrameEntry.quality`, colour, style."""


def correctness_timeline(entries: Sequence[FrameEntry]) -> Figure | None:
    """Share of the pixels of each frame that are right, or as the per-frame network says."""
    return _timeline(entries, _RIGHT, 'pixels [%]', (None, 101.0))


def change_timeline(entries: Sequence[FrameEntry]) -> Figure | None:
    """Share of the pixels of each frame with another class than in the frame before."""
    return _timeline(entries, _CHANGED, 'changed pixels [%]', (0.0, None))


def _timeline(
    entries: Sequence[FrameEntry],
    lines: Sequence[tuple[str, str, str, str]],
    what: str,
    limits: tuple[float | None, float | None],
) -> Figure | None:
    told = {key: [e for e in entries if key in e.quality] for _, key, _, _ in lines}
    if not any(told.values()):
        return None
    figure, axes = plot_axes(2.4)
    for name, key, colour, style in lines:
        if chosen := told[key]:
            values = [100 * e.quality[key] for e in chosen]
            axes.plot([e.time_s for e in chosen], values, style, color=colour, lw=1, label=name)
    axes.set(xlabel='time of the frame [s]', ylabel=what)
    axes.set_ylim(*limits)
    axes.grid(alpha=0.3)
    legend_above(axes)
    return figure


def stamp_timeline(entries: Sequence[FrameEntry]) -> Figure | None:
    """Steps between header stamps over time, with frames that were dropped."""
    if len(entries) < 2:
        return None
    figure, axes = plot_axes(2.2)
    times = [e.time_s for e in entries]
    steps_ms = np.diff([e.stamp_ns for e in entries]) / 1e6
    axes.plot(times[1:], steps_ms, '.', ms=3, color=COLOURS[False], label='since the frame before')
    dropped = [e.time_s for e in entries if not e.is_answered]
    if dropped:
        axes.plot(dropped, [0.0] * len(dropped), 'x', color='#b00020', label='dropped')
    axes.set(xlabel='time of the frame [s]', ylabel='step [ms]')
    axes.set_ylim(bottom=min(0.0, float(steps_ms.min()) * 1.05), top=float(steps_ms.max()) * 1.15)
    axes.grid(alpha=0.3)
    legend_above(axes)
    return figure
