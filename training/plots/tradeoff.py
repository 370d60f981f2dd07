"""Accuracy against speed: figures 1, 6a (VSPW) and 6b (Cityscapes) of the paper.

Published points are drawn where the paper prints them; rows of own evaluations lie over them as
stars. Their speed is that of the machine that measured it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
import numpy as np

from dcfm_ros.training.plots.points import KINDS, Point, cityscapes_points, vspw_points
from dcfm_ros.training.plots.request import Drawing, FigureRequest
from dcfm_ros.training.plots.rows import EvaluatedRow
from dcfm_ros.training.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    log_ticks,
    new_figure,
    place_labels,
    style_axes,
)

_LOOKS = dict(
    zip(KINDS, ((GREEN, 's'), (BLUE, '^'), (VERMILLION, 'o'), (BLACK, '*')), strict=True)
)
_SIZE_UNKNOWN = 120.0
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


def figure_1(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing:
    """Accuracy and speed on VSPW, Table II."""
    return _trade_off(draw_figure_1, vspw_points, rows, 'vspw')


def figure_6a(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing:
    """Accuracy, consistency, speed and size on VSPW, Table II."""
    consistent = [row for row in rows if row.mvc8 is not None]
    return _trade_off(draw_figure_6a, vspw_points, consistent, 'vspw', len(rows))


def figure_6b(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing:
    """Accuracy and speed on Cityscapes, Table III."""
    return _trade_off(draw_figure_6b, cityscapes_points, rows, 'cityscapes')


def _trade_off(
    draw: Callable[[Sequence[Point]], Figure],
    points_with: Callable[[Sequence[EvaluatedRow]], list[Point]],
    rows: Sequence[EvaluatedRow],
    dataset: str,
    num_given: int | None = None,
) -> Drawing:
    shown = [row for row in rows if row.dataset == dataset and row.fps is not None]
    points = points_with(shown)
    num_given = len(rows) if num_given is None else num_given
    note = ''
    if num_given > len(shown):
        note = f'{num_given - len(shown)} of {num_given} evaluated rows are not shown: they are '
        note += f'not of {dataset}, or lack what this figure shows'
    return Drawing(figure=draw(points), rows=[point.row() for point in points], note=note)


def draw_figure_1(points: Sequence[Point]) -> Figure:
    """The mIoU over speed on VSPW; areas of the markers grow with the parameters."""
    figure = new_figure(8.4, 5.4)
    axes = figure.subplots()
    _draw(axes, points, title='VSPW: accuracy and speed', sizes=True)
    return figure


def draw_figure_6a(points: Sequence[Point]) -> Figure:
    """The mIoU over speed on VSPW; colour is mVC8, area the parameters, shape the kind."""
    figure = new_figure(9.2, 5.4)
    axes = figure.subplots()
    values = [100 * point.mvc8 for point in points if point.mvc8 is not None]
    colour = ScalarMappable(Normalize(min(values), max(values)), 'cividis')
    figure.colorbar(colour, ax=axes, label='mVC8 [%]', fraction=0.045, pad=0.02)
    title = 'VSPW: accuracy, consistency, speed and size'
    _draw(axes, points, title=title, sizes=True, colour=colour)
    return figure


def draw_figure_6b(points: Sequence[Point]) -> Figure:
    """The mIoU over speed on Cityscapes."""
    figure = new_figure(8.4, 5.4)
    _draw(figure.subplots(), points, title='Cityscapes: accuracy and speed')
    return figure


def _draw(
    axes: Any,
    points: Sequence[Point],
    *,
    title: str,
    sizes: bool = False,
    colour: ScalarMappable | None = None,
) -> None:
    """Draw every point with its label; `colour` paints by mVC8, else the kind does."""
    style_axes(axes, x='speed [frames per second]', y='mIoU [%]', title=title)
    fps, miou = [p.fps for p in points], [100 * p.miou for p in points]
    low, high = min(fps) / 1.5, max(fps) * 1.9
    log_ticks(axes, [tick for tick in _TICKS if low <= tick <= high])
    margin = 0.08 * (max(miou) - min(miou))
    axes.set(xlim=(low, high), ylim=(min(miou) - margin, max(miou) + margin))
    lines = _draw_chains(axes, points)
    for point in points:
        is_ours = point.kind in ('DCFM', 'own evaluation')
        fill, marker = _LOOKS[point.kind]
        axes.scatter(
            point.fps,
            100 * point.miou,
            s=_area(point),
            marker=marker,
            color=fill if colour is None else colour.to_rgba(np.array(100 * (point.mvc8 or 0.0))),
            edgecolors=fill if colour and is_ours else 'white',
            linewidths=1.4 if colour and is_ours else 0.6,
            alpha=0.95 if is_ours else 0.75,
            zorder=4 if is_ours else 3,
        )
    _add_legend(axes, points, sizes=sizes, grey=colour is not None)
    # Ours first: the labels that matter most get the best places.
    order = sorted(points, key=lambda point: -KINDS.index(point.kind))
    place_labels(
        axes,
        [(p.fps, 100 * p.miou, p.label) for p in order],
        radii_pt=[_area(p) ** 0.5 / 2 for p in order],
        colours=[VERMILLION if p.kind == 'DCFM' else '#333333' for p in order],
        bold=[p.kind in ('DCFM', 'own evaluation') for p in order],
        obstacles=lines,
    )


def _area(point: Point) -> float:
    """Area of its marker in points squared."""
    return _SIZE_UNKNOWN if point.params_m is None else 25 + 4.5 * point.params_m


def _draw_chains(axes: Any, points: Sequence[Point]) -> list[tuple[float, float]]:
    """Draw a line through the keyframe intervals of each DCFM; returns what it covers."""
    chains: dict[str, list[Point]] = {}
    for point in points:
        if point.kind == 'DCFM' and ' K=' in point.method:
            chains.setdefault(point.backbone, []).append(point)
    covered = []
    for chain in chains.values():
        places = [(p.fps, 100 * p.miou) for p in chain]
        axes.plot(*zip(*places, strict=True), color=VERMILLION, linewidth=1.2, alpha=0.7, zorder=2)
        for (x, y), (next_x, next_y) in pairwise(places):
            steps = [i / 16 for i in range(1, 16)]
            covered += [(x * (next_x / x) ** s, y + s * (next_y - y)) for s in steps]
    return covered


def _add_legend(axes: Any, points: Sequence[Point], *, sizes: bool, grey: bool) -> None:
    handles = [
        axes.scatter([], [], color=GREY if grey else colour, marker=marker, s=45, label=kind)
        for kind, (colour, marker) in _LOOKS.items()
        if any(point.kind == kind for point in points)
    ]
    if sizes:
        names = {5: '5 M', 25: '25 M', 80: '80 M parameters'}
        handles += [
            axes.scatter([], [], s=25 + 4.5 * size, color=GREY, alpha=0.4, label=name)
            for size, name in names.items()
        ]
    axes.figure.legend(
        handles=handles,
        loc='outside lower center',
        ncols=len(handles),
        fontsize=8,
        frameon=False,
        columnspacing=1.4,
        handletextpad=0.4,
    )
