"""Figure 9 of the paper: fixed keyframe intervals against adaptive keyframe scheduling (AKS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from statistics import mean, median
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.training.plots.evaluations import EvaluatedRow, short_names
from dcfm_ros.training.plots.pictures import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Drawing,
    new_figure,
    place_labels,
    style_axes,
)

Curve = list[EvaluatedRow]

_FIXED = 'fixed K'
_MODES = {'past': 'past keyframe', 'both': 'both keyframes'}
_COLUMNS = ('interval', 'threshold', 'average_interval', 'fps', 'miou')


def figure_9(rows: Sequence[EvaluatedRow]) -> Drawing | str:
    """The mIoU of fixed and adaptive schedules, of each checkpoint that has both."""
    groups = group_curves(rows)
    if not groups:
        return 'it needs --evaluation of one checkpoint with fixed and with adaptive schedules'
    numbers, plotted = {}, []
    for name, curves in groups.items():
        for kind, curve in curves.items():
            gain = gain_over_fixed(curve, curves[_FIXED])
            if kind != _FIXED and gain is not None:
                numbers[f'gain of {kind} ({name})'] = gain
            for row in curve:
                values = {column: getattr(row, column) for column in _COLUMNS}
                plotted.append({'evaluated': name, 'curve': kind} | values)
    return Drawing(figure=_draw(groups), rows=plotted, numbers=numbers)


def group_curves(rows: Sequence[EvaluatedRow]) -> dict[str, dict[str, Curve]]:
    """Sort rows into curves, by what was evaluated and then by schedule.

    Returns:
        {'<checkpoint>, <dataset> <split>, <keyframes used>': {'fixed K' or 'AKS, MinK <n>', also
        'MaxK <n>' if it has one: rows by rising average interval}}; only of what has both a fixed
        and an adaptive curve. The rows of a group share its median times.
    """
    checkpoints = short_names(row.checkpoint for row in rows)
    groups: dict[str, dict[str, Curve]] = {}
    for row in rows:
        if row.schedule != 'per_frame':
            used = _MODES.get(row.mode, row.mode)
            name = f'{checkpoints[row.checkpoint]}, {row.dataset} {row.split}, {used}'
            groups.setdefault(name, {}).setdefault(_curve_name(row), []).append(row)
    return {
        name: _evened(curves)
        for name, curves in groups.items()
        if _FIXED in curves and len(curves) > 1
    }


def _curve_name(row: EvaluatedRow) -> str:
    if row.schedule == 'fixed':
        return _FIXED
    kind = 'AKS of features' if row.keyframe_score == 'feature' else 'AKS'
    name = f'{kind}, MinK {1 if row.min_interval is None else row.min_interval}'
    return name if row.max_interval is None else f'{name}, MaxK {row.max_interval}'


def _evened(curves: dict[str, Curve]) -> dict[str, Curve]:
    """By rising average interval, every row with the times that are the median of them all.

    It is one network throughout: what differs in time is how busy the machine was.
    """
    times: dict[str, Any] = {}
    for name in ('ms_key', 'ms_nonkey'):
        measured = [getattr(row, name) for curve in curves.values() for row in curve]
        if known := [ms for ms in measured if ms is not None]:
            times[name] = median(known)
    return {
        kind: [
            replace(row, **times)
            for row in sorted(curves[kind], key=lambda row: row.average_interval)
        ]
        for kind in (_FIXED, *sorted(curves.keys() - {_FIXED}))
    }


def gain_over_fixed(curve: Curve, fixed: Curve) -> float | None:
    """Mean mIoU that a curve lies above the fixed one at equal average interval.

    Between fixed intervals the mIoU is interpolated; points of the curve beyond them, and
    points that are as good as fixed because every frame is a keyframe, do not count. None where
    no point is left.
    """
    intervals = [row.average_interval for row in fixed]
    differences = [
        row.miou - float(np.interp(row.average_interval, intervals, [f.miou for f in fixed]))
        for row in curve
        if max(1.0, intervals[0]) < row.average_interval <= intervals[-1]
    ]
    return mean(differences) if differences else None


def _draw(groups: dict[str, dict[str, Curve]]) -> Figure:
    """The mIoU over average interval and, where times were measured, over speed."""
    columns = {'average_interval': 'average keyframe interval [frames]'}
    drawn = [row for curves in groups.values() for curve in curves.values() for row in curve]
    if all(row.fps is not None for row in drawn):
        columns['fps'] = 'speed [frames per second]'
    figure = new_figure(5.6 * len(columns), 4.4 * len(groups))
    grid = figure.subplots(len(groups), len(columns), squeeze=False)
    for line, (name, curves) in zip(grid, groups.items(), strict=True):
        for axes, (column, label) in zip(line, columns.items(), strict=True):
            style_axes(axes, x=label, y='mIoU [%]')
            _draw_curves(axes, curves, column)
        line[0].set_title(f'Fixed and adaptive keyframes: {name}', fontsize=10, loc='left')
    return figure


def _draw_curves(axes: Any, curves: dict[str, Curve], column: str) -> None:
    axes.margins(0.1)
    colours = cycle((BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK))
    places, labels = [], []
    looks = zip(curves.items(), colours, cycle('os^DvPX'), strict=False)
    for (name, curve), colour, marker in looks:
        own = [(getattr(row, column), 100 * row.miou) for row in curve]
        look = {'color': colour, 'marker': marker, 'markersize': 5, 'linewidth': 1.5}
        axes.plot(*zip(*own, strict=True), label=name, **look)
        places += own
        if name == _FIXED:
            named = zip(own, curve, strict=True)
            labels = [axes.text(*at, f'K={row.interval}', color=BLUE) for at, row in named]
    axes.legend(fontsize=8, frameon=False)
    place_labels(axes, labels, places)
