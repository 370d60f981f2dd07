"""Figure 9 of the paper: fixed keyframe intervals against adaptive keyframe scheduling (AKS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from statistics import median
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.training.plots.request import Drawing, FigureRequest
from dcfm_ros.training.plots.rows import EvaluatedRow, short_names
from dcfm_ros.training.plots.style import (
    COLOURS,
    MARKERS,
    Row,
    new_figure,
    place_labels,
    style_axes,
)

Curve = list[EvaluatedRow]

FIXED = 'fixed K'
_MODES = {'past': 'past keyframe', 'both': 'both keyframes'}


def figure_9(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing | str:
    """The mIoU of fixed and adaptive schedules, of each checkpoint that has both."""
    groups = group_curves(rows)
    if not groups:
        return 'it needs --evaluation of one checkpoint with fixed and with adaptive schedules'
    numbers = {
        f'gain of {curve} ({name})': gain
        for name, curves in groups.items()
        for curve, points in curves.items()
        if curve != FIXED and (gain := gain_over_fixed(points, curves[FIXED])) is not None
    }
    return Drawing(figure=draw_figure_9(groups), rows=figure_9_rows(groups), numbers=numbers)


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
        if row.schedule == 'per_frame':
            continue
        used = _MODES.get(row.mode, row.mode)
        name = f'{checkpoints[row.checkpoint]}, {row.dataset} {row.split}, {used}'
        groups.setdefault(name, {}).setdefault(_curve_name(row), []).append(row)
    return {
        name: _evened({kind: curves[kind] for kind in (FIXED, *sorted(curves.keys() - {FIXED}))})
        for name, curves in groups.items()
        if FIXED in curves and len(curves) > 1
    }


def _curve_name(row: EvaluatedRow) -> str:
    if row.schedule == 'fixed':
        return FIXED
    kind = 'AKS of features' if row.keyframe_score == 'feature' else 'AKS'
    name = f'{kind}, MinK {1 if row.min_interval is None else row.min_interval}'
    return name if row.max_interval is None else f'{name}, MaxK {row.max_interval}'


def _evened(curves: dict[str, Curve]) -> dict[str, Curve]:
    """By rising average interval, every row with the times that are the median of them all.

    It is one network throughout: what differs in time is how busy the machine was.
    """
    times: dict[str, float] = {}
    for name in ('key_ms', 'nonkey_ms'):
        measured = [getattr(row, name) for curve in curves.values() for row in curve]
        if known := [ms for ms in measured if ms is not None]:
            times[name] = median(known)
    return {
        kind: [
            replace(row, **times)  # type: ignore[arg-type]
            for row in sorted(curve, key=lambda row: row.average_interval)
        ]
        for kind, curve in curves.items()
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
    return sum(differences) / len(differences) if differences else None


def draw_figure_9(groups: dict[str, dict[str, Curve]]) -> Figure:
    """The mIoU over average interval and, where times were measured, over speed."""
    has_speed = all(
        row.fps is not None
        for curves in groups.values()
        for curve in curves.values()
        for row in curve
    )
    columns: list[tuple[str, Callable[[EvaluatedRow], Any]]]
    columns = [('average keyframe interval [frames]', lambda row: row.average_interval)]
    if has_speed:
        columns.append(('speed [frames per second]', lambda row: row.fps))
    figure = new_figure(5.6 * len(columns), 4.4 * len(groups))
    grid = figure.subplots(len(groups), len(columns), squeeze=False)
    for line, (name, curves) in zip(grid, groups.items(), strict=True):
        for axes, (label, x_of) in zip(line, columns, strict=True):
            style_axes(axes, x=label, y='mIoU [%]')
            _draw_curves(axes, curves, x_of)
        line[0].set_title(f'Fixed and adaptive keyframes: {name}', fontsize=10, loc='left')
    return figure


def _draw_curves(axes: Any, curves: dict[str, Curve], x_of: Callable[[EvaluatedRow], Any]) -> None:
    axes.margins(0.1)
    covered: list[tuple[float, float]] = []
    for (name, curve), colour, marker in zip(curves.items(), cycle(COLOURS), cycle(MARKERS)):
        x, y = [x_of(row) for row in curve], [100 * row.miou for row in curve]
        axes.plot(x, y, color=colour, marker=marker, markersize=5, linewidth=1.5, label=name)
        steps = np.linspace(0, len(curve) - 1, 20 * len(curve))
        covered += zip(
            np.interp(steps, range(len(x)), x), np.interp(steps, range(len(y)), y), strict=True
        )
    axes.legend(fontsize=8, frameon=False)
    fixed = curves[FIXED]
    place_labels(
        axes, [(x_of(row), 100 * row.miou, f'K={row.interval}') for row in fixed],
        radii_pt=[3.0] * len(fixed), colours=[COLOURS[0]] * len(fixed),
        bold=[False] * len(fixed), obstacles=covered,
    )  # fmt: skip


def figure_9_rows(groups: dict[str, dict[str, Curve]]) -> list[Row]:
    """What the CSV of figure 9 says."""
    return [
        {
            'evaluated': name,
            'curve': curve_name,
            'interval': row.interval,
            'threshold': row.threshold,
            'average_interval': row.average_interval,
            'fps': row.fps,
            'miou': row.miou,
        }
        for name, curves in groups.items()
        for curve_name, curve in curves.items()
        for row in curve
    ]
