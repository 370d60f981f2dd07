"""Plots of a run that every report shows: latency over time, time per stage, what was seen."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.replay.recorder import FrameEntry, stages_of

RGB = tuple[int, int, int]

DEEP, SHALLOW = 'with deep encoder', 'without'
"""Frames on which the deep encoder was at work (in execution 'sync', keyframes), and others."""
COLOURS = {True: '#d8663b', False: '#3b7dd8'}
"""Of frames with and without it."""
_MANY = 2000
"""Points above this number become a picture, which takes less room."""


def plot_axes(height: float) -> tuple[Figure, Axes]:
    """An empty plot of the page's width, `height` in inches."""
    figure = Figure(figsize=(10, height), layout='constrained')
    return figure, figure.subplots()


def legend_above(axes: Axes) -> None:
    """Name what the plot shows, where it hides nothing of it."""
    axes.legend(loc='lower right', bbox_to_anchor=(1.0, 1.0), ncols=4, fontsize=8, frameon=False)


def latency_plot(entries: Sequence[FrameEntry]) -> Figure:
    """Latency of every frame over the time of its stamp."""
    figure, axes = plot_axes(3.2)
    for name, is_deep, size in ((SHALLOW, False, 10), (DEEP, True, 26)):
        chosen = [e for e in entries if e.is_answered and e.is_deep == is_deep]
        times, latencies = [e.time_s for e in chosen], [e.latency_ms for e in chosen]
        axes.scatter(
            times,
            latencies,
            s=size,
            color=COLOURS[is_deep],
            label=name,
            zorder=3,
            rasterized=len(chosen) > _MANY,
        )
    dropped = [e.time_s for e in entries if not e.is_answered]
    if dropped:
        axes.plot(dropped, [0.0] * len(dropped), 'x', color='#b00020', label='dropped')
    axes.set(xlabel='time of the frame [s]', ylabel='latency [ms]')
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    legend_above(axes)
    return figure


def stage_plot(entries: Sequence[FrameEntry]) -> Figure:
    """Median time of every stage, on frames with and without the deep encoder."""
    figure, axes = plot_axes(1.9)
    names = stages_of(entries)
    longest = 0.0
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
        longest = max(longest, left)
    axes.set_yticks([0, 1], [DEEP, SHALLOW])
    axes.set_xlim(0, 1.14 * longest or 1.0)  # room for the number
    axes.invert_yaxis()
    axes.set_xlabel('median time [ms]')
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def class_plot(
    entries: Sequence[FrameEntry], class_names: Sequence[str], palette: Sequence[RGB]
) -> Figure | None:
    """Share of the image of the most frequent classes over time; None without a mask."""
    seen = [e for e in entries if e.class_shares is not None]
    if not seen:
        return None
    figure, axes = plot_axes(3.4)
    shares = np.stack([e.class_shares for e in seen if e.class_shares is not None])
    order = np.argsort(-shares.mean(0))[:12]
    order = order[shares.mean(0)[order] > 0]
    axes.stackplot(
        [e.time_s for e in seen],
        100 * shares[:, order].T,
        labels=[class_names[i] for i in order],
        colors=[np.array(palette[i]) / 255 for i in order],
    )
    axes.set(xlabel='time of the frame [s]', ylabel='share of the image [%]', ylim=(0, 100))
    axes.margins(x=0)
    axes.legend(loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure
