"""Plots over the time of a recording. Each gives None if there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
import numpy as np

from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.pages.axes import (
    COLOURS,
    DARK,
    DEEP,
    GREY,
    RED,
    SHALLOW,
    legend_above,
    legend_beside,
    plot_axes,
)

Frames = Sequence[ReplayedFrame]
_TIME = 'time of the frame [s]'
_MANY = 2000
"""More points than this are drawn as a picture, which is smaller."""
_NUM_CLASSES = 12


def latency(frames: Frames) -> Figure:
    """Latency of every frame."""
    figure, axes = plot_axes(3.2)
    for name, is_deep, size in ((SHALLOW, False, 10), (DEEP, True, 26)):
        chosen = [f for f in frames if f.is_answered and f.is_deep == is_deep]
        axes.scatter(
            [f.time_s for f in chosen],
            [f.latency_ms for f in chosen],
            s=size,
            color=COLOURS[is_deep],
            label=name,
            zorder=3,
            rasterized=len(chosen) > _MANY,
        )
    if dropped := [f.time_s for f in frames if not f.is_answered]:
        axes.plot(dropped, [0.0] * len(dropped), 'x', color=RED, label='dropped')
    axes.set(xlabel=_TIME, ylabel='latency [ms]')
    axes.set_ylim(bottom=0)
    legend_above(axes)
    return figure


def keyframes(frames: Frames) -> Figure | None:
    """Age of the common feature, and the keyframes with their reasons."""
    aged = [f for f in frames if f.keyframe_age is not None]
    if not aged:
        return None
    figure, axes = plot_axes(2.6)
    times, ages = [f.time_s for f in aged], [f.keyframe_age or 0 for f in aged]
    axes.step(times, ages, where='post', color=GREY, lw=1, label='age of the common feature')
    for reason in dict.fromkeys(f.reason or 'unknown' for f in aged if f.is_keyframe):
        chosen = [f for f in aged if f.is_keyframe and (f.reason or 'unknown') == reason]
        axes.scatter(
            [f.time_s for f in chosen],
            [f.keyframe_age or 0 for f in chosen],
            s=24,
            zorder=3,
            label=f'{reason} ({len(chosen)})',
        )
    axes.set(xlabel=_TIME, ylabel='age [frames]')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=-0.3)
    legend_beside(axes)
    return figure


def correctness(frames: Frames) -> Figure | None:
    """Share of the pixels of each frame that are right, or as the per-frame network says."""
    lines = (
        ('right, of the labelled pixels', 'accuracy', '#1d7a3a', '-'),
        ('same as the per-frame network', 'agreement', COLOURS[False], '-'),
    )
    return _shares(frames, lines, 'pixels [%]', (None, 101.0))


def change(frames: Frames) -> Figure | None:
    """Share of the pixels of each frame that change class."""
    lines = (
        ('masks', 'changed', COLOURS[True], '-'),
        ('masks of the per-frame network', 'reference_changed', GREY, '-'),
        ('labels', 'label_changed', DARK, ':'),
    )
    return _shares(frames, lines, 'changed pixels [%]', (0.0, None))


def _shares(
    frames: Frames,
    lines: Sequence[tuple[str, str, str, str]],
    what: str,
    limits: tuple[float | None, float | None],
) -> Figure | None:
    """Lines over time: name, key in `ReplayedFrame.quality`, colour, style."""
    known = {key: [f for f in frames if key in f.quality] for _, key, _, _ in lines}
    if not any(known.values()):
        return None
    figure, axes = plot_axes(2.4)
    for name, key, colour, style in lines:
        if chosen := known[key]:
            values = [100 * f.quality[key] for f in chosen]
            axes.plot([f.time_s for f in chosen], values, style, color=colour, lw=1, label=name)
    axes.set(xlabel=_TIME, ylabel=what)
    axes.set_ylim(*limits)
    legend_above(axes)
    return figure


def stamps(frames: Frames) -> Figure | None:
    """Steps between header stamps, and dropped frames."""
    if len(frames) < 2:
        return None
    figure, axes = plot_axes(2.2)
    times = [f.time_s for f in frames]
    steps_ms = np.diff([f.stamp_ns for f in frames]) / 1e6
    axes.plot(times[1:], steps_ms, '.', ms=3, color=COLOURS[False], label='since the last frame')
    if dropped := [f.time_s for f in frames if not f.is_answered]:
        axes.plot(dropped, [0.0] * len(dropped), 'x', color=RED, label='dropped')
    axes.set(xlabel=_TIME, ylabel='step [ms]')
    axes.set_ylim(bottom=min(0.0, float(steps_ms.min()) * 1.05), top=float(steps_ms.max()) * 1.15)
    legend_above(axes)
    return figure


def classes(
    frames: Frames, class_names: Sequence[str], palette: Sequence[tuple[int, int, int]]
) -> Figure | None:
    """Share of the image of the most frequent classes."""
    times = [f.time_s for f in frames if f.class_shares is not None]
    if not times:
        return None
    figure, axes = plot_axes(3.4)
    shares = np.stack([f.class_shares for f in frames if f.class_shares is not None])
    order = np.argsort(-shares.mean(0))[:_NUM_CLASSES]
    order = order[shares.mean(0)[order] > 0]
    axes.stackplot(
        times,
        100 * shares[:, order].T,
        labels=[class_names[i] for i in order],
        colors=[np.array(palette[i]) / 255 for i in order],
    )
    axes.set(xlabel=_TIME, ylabel='share of the image [%]', ylim=(0, 100))
    axes.margins(x=0)
    legend_beside(axes)
    return figure
