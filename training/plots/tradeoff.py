"""Accuracy against speed: figures 1, 6a (VSPW) and 6b (Cityscapes) of the paper.

Published points are drawn where the paper prints them; rows of own evaluations lie over them as
stars. Their speed is that of the machine that measured it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
import numpy as np

from dcfm_ros.training.plots.evaluations import EvaluatedRow, short_names
from dcfm_ros.training.plots.pictures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    Drawing,
    new_figure,
    place_labels,
    style_axes,
)
from dcfm_ros.training.studies.published import published

# Video methods carry something from frame to frame, image methods do not.
_IMAGE_METHODS = ('DeepLabv3+', 'UperNet', 'PSPNet', 'OCRNet', 'Mask2Former', 'SegFormer', 'FCN')
_LOOKS = {
    'image method': (GREEN, 's'),
    'video method': (BLUE, '^'),
    'DCFM': (VERMILLION, 'o'),
    'own evaluation': (BLACK, '*'),
}
_TABLES = {'vspw': 'table2_vspw', 'cityscapes': 'table3_cityscapes'}
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method in a trade-off; accuracies are fractions in [0, 1]."""

    kind: str
    """One of `_LOOKS`."""
    method: str
    backbone: str
    fps: float
    miou: float
    mvc8: float | None = None
    params_m: float | None = None

    @property
    def label(self) -> str:
        """What is written beside it, for example 'DCFM-B2 K=2'."""
        name, _, schedule = self.method.partition(' ')
        short = self.backbone.replace('ResNet-', 'R').replace('MiT-', '')
        return f'{name}-{short} {schedule}'.strip() if short else self.method

    @property
    def is_ours(self) -> bool:
        """Whether it is drawn in front."""
        return self.kind in ('DCFM', 'own evaluation')

    @property
    def area(self) -> float:
        """Area of its marker in points squared, which grows with the parameters."""
        return 120.0 if self.params_m is None else _area(self.params_m)


def _area(params_m: float) -> float:
    return 25 + 4.5 * params_m


def figure_1(rows: Sequence[EvaluatedRow]) -> Drawing:
    """Accuracy, speed and size on VSPW, Table II."""
    return _trade_off(rows, 'vspw', 'VSPW: accuracy and speed')


def figure_6a(rows: Sequence[EvaluatedRow]) -> Drawing:
    """Accuracy, consistency (as colour), speed and size on VSPW, Table II."""
    title = 'VSPW: accuracy, consistency, speed and size'
    return _trade_off(rows, 'vspw', title, by_consistency=True)


def figure_6b(rows: Sequence[EvaluatedRow]) -> Drawing:
    """Accuracy and speed on Cityscapes, Table III."""
    return _trade_off(rows, 'cityscapes', 'Cityscapes: accuracy and speed')


def _trade_off(
    rows: Sequence[EvaluatedRow], dataset: str, title: str, *, by_consistency: bool = False
) -> Drawing:
    shown = [row for row in rows if row.dataset == dataset and row.fps is not None]
    shown = [row for row in shown if row.mvc8 is not None or not by_consistency]
    points = [*_published_points(_TABLES[dataset]), *_own_points(shown)]
    note = ''
    if hidden := len(rows) - len(shown):
        note = f'{hidden} of {len(rows)} evaluated rows are not shown: they are not of {dataset}, '
        note += 'or lack what this figure shows'
    figure = new_figure(9.2 if by_consistency else 8.4, 5.4)
    axes = figure.subplots()
    style_axes(axes, x='speed [frames per second]', y='mIoU [%]', title=title)
    colour = None
    if by_consistency:
        values = [100 * point.mvc8 for point in points if point.mvc8 is not None]
        colour = ScalarMappable(Normalize(min(values), max(values)), 'cividis')
        figure.colorbar(colour, ax=axes, label='mVC8 [%]', fraction=0.045, pad=0.02)
    _draw(axes, points, colour)
    return Drawing(figure=figure, rows=[asdict(point) for point in points], note=note)


def _published_points(table: str) -> list[Point]:
    points = []
    for row in published(table):
        kind = 'image method' if row.method in _IMAGE_METHODS else 'video method'
        kind = 'DCFM' if row.method.startswith('DCFM') else kind
        known = {f.name: getattr(row, f.name) for f in fields(Point) if hasattr(row, f.name)}
        points.append(Point(kind=kind, **known))
    return points


def _own_points(rows: Sequence[EvaluatedRow]) -> list[Point]:
    names = short_names(row.checkpoint for row in rows)
    return [
        Point(
            kind='own evaluation', method=f'{names[row.checkpoint]} {row.schedule_name}',
            backbone='', fps=row.fps, miou=row.miou, mvc8=row.mvc8,
        )
        for row in rows
        if row.fps is not None
    ]  # fmt: skip


def _draw(axes: Any, points: Sequence[Point], colour: ScalarMappable | None) -> None:
    """Draw every point with its label; `colour` paints by mVC8, else the kind does."""
    fps, miou = [p.fps for p in points], [100 * p.miou for p in points]
    low, high = min(fps) / 1.5, max(fps) * 1.9
    axes.set_xscale('log')
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    margin = 0.08 * (max(miou) - min(miou))
    axes.set(xlim=(low, high), ylim=(min(miou) - margin, max(miou) + margin))
    chains: dict[str, list[tuple[float, float]]] = {}
    labels = []
    for point in points:
        x, y = point.fps, 100 * point.miou
        fill, marker = _LOOKS[point.kind]
        axes.scatter(
            x, y, s=point.area, marker=marker, alpha=0.95 if point.is_ours else 0.75,
            color=colour.to_rgba(np.array(100 * (point.mvc8 or 0.0))) if colour else fill,
            edgecolors=fill if colour and point.is_ours else 'white',
            linewidths=1.4 if colour and point.is_ours else 0.6,
            zorder=4 if point.is_ours else 3,
        )  # fmt: skip
        if point.kind == 'DCFM' and ' K=' in point.method:
            chains.setdefault(point.backbone, []).append((x, y))
        text_colour = VERMILLION if point.kind == 'DCFM' else '#333333'
        weight = 'bold' if point.is_ours else 'normal'
        labels.append(axes.text(x, y, point.label, color=text_colour, fontweight=weight))
    for chain in chains.values():
        axes.plot(*zip(*chain, strict=True), color=VERMILLION, linewidth=1.2, alpha=0.7, zorder=2)
    _add_legend(axes, points, is_grey=colour is not None)
    place_labels(axes, labels, list(zip(fps, miou, strict=True)))


def _add_legend(axes: Any, points: Sequence[Point], *, is_grey: bool) -> None:
    kinds = {point.kind for point in points}
    handles = [
        axes.scatter([], [], color=GREY if is_grey else colour, marker=marker, s=45, label=kind)
        for kind, (colour, marker) in _LOOKS.items()
        if kind in kinds
    ]
    if any(point.params_m for point in points):
        for size, name in {5: '5 M', 25: '25 M', 80: '80 M parameters'}.items():
            look = {'s': _area(size), 'color': GREY, 'alpha': 0.4}
            handles.append(axes.scatter([], [], label=name, **look))
    axes.figure.legend(
        handles=handles, loc='outside lower center', ncols=len(handles), fontsize=8,
        frameon=False, columnspacing=1.4, handletextpad=0.4,
    )  # fmt: skip
