"""Curves of a training from its TensorBoard events, for its model card."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

from matplotlib.figure import Figure
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import (
    SCALARS,
    EventAccumulator,
)

from dcfm_ros.training.plots.pictures import (
    BLUE,
    GREEN,
    GREY,
    VERMILLION,
    Drawing,
    Row,
    new_figure,
    style_axes,
)

Curves = dict[int, dict[str, float]]
"""Values by step and then by name, steps rising."""

_COLUMNS = ('loss', 'val_miou_key', 'val_miou_nonkey', 'val_miou', 'lr', 'decoder_lr')
_NOT_SHOWN = ('hp_metric', 'epoch')
_PLACES = ('log/version_*', 'version_*', '.')
_EVENTS = 'events.out.tfevents.*'
_PANELS: tuple[tuple[str, float, dict[str, tuple[str, str]]], ...] = (
    (
        'loss', 1.0,
        {
            'loss': ('loss', GREY), 'train/keyframe': ('keyframe', BLUE),
            'train/nonkey': ('non-key', VERMILLION),
        },
    ),
    (
        'mIoU [%]', 100.0,
        {'val_miou_key': ('keyframe', BLUE), 'val_miou_nonkey': ('non-key', VERMILLION)},
    ),
    ('learning rate', 1.0, {'lr': ('encoder', GREEN), 'decoder_lr': ('decoder', GREY)}),
)  # fmt: skip
"""Title, scale and {value: label, colour} of each panel."""
_POINTS = 150
"""Of a line; more would be a band that hides the others."""


def figure_curves(training: Path | None) -> Drawing | str:
    """Loss, mIoU on the validation pairs and learning rate over the steps of a training."""
    if training is None:
        return 'it needs --training'
    curves = read_curves(training)
    numbers: dict[str, float] = {}
    if validated := {step: row['val_miou'] for step, row in curves.items() if 'val_miou' in row}:
        best = max(validated, key=lambda step: validated[step])
        numbers = {'best val_miou': validated[best], 'at step': float(best)}
    return Drawing(figure=draw_curves(curves), rows=curve_rows(curves), numbers=numbers)


def read_curves(folder: Path) -> Curves:
    """Read every scalar that a training has logged.

    A training that was resumed has several event files. Each counts up to the first step of the
    next one: what was done beyond that was lost, and done again.

    Args:
        folder: That of `ExportNetwork`, or that of its event files.

    Raises:
        ValueError: If there are no values.
    """
    found = (list(folder.glob(f'{place}/{_EVENTS}')) for place in _PLACES)
    files = next(filter(None, found), [])
    curves: Curves = {}
    for path in sorted(files, key=_age):
        if run := _read_events(path):
            curves = {step: row for step, row in curves.items() if step < min(run)} | run
    if not curves:
        places = ' or '.join(_PLACES)
        msg = f'`training` must be a folder with TensorBoard events in {places}'
        raise ValueError(f'{msg}, got {folder}')
    return curves


def _read_events(path: Path) -> Curves:
    """The scalars of one file; of a damaged one those before the damage."""
    events = EventAccumulator(str(path), size_guidance={SCALARS: 0}).Reload()
    values: Curves = {}
    for name in events.Tags()[SCALARS]:
        for event in events.Scalars(name) if name not in _NOT_SHOWN else ():
            values.setdefault(event.step, {})[name] = event.value
    return dict(sorted(values.items()))


def _age(path: Path) -> list[int]:
    """Sort key of event files: time, process and number of the writer, in which 9 is before 10."""
    return [int(digits) for digits in re.findall(r'\d+', path.name)]


def curve_rows(curves: Curves) -> list[Row]:
    """A row per step for the CSV, known columns first, six digits."""
    names = {name for row in curves.values() for name in row}
    columns = [*(name for name in _COLUMNS if name in names), *sorted(names - set(_COLUMNS))]
    return [
        {'step': step} | {name: f'{row[name]:.6g}' if name in row else '' for name in columns}
        for step, row in curves.items()
    ]


def draw_curves(curves: Curves) -> Figure:
    """A panel each for loss, mIoU and learning rate, as far as they were logged.

    Raises:
        ValueError: If none of them was.
    """
    logged = {name for row in curves.values() for name in row}
    panels = [panel for panel in _PANELS if logged.intersection(panel[2])]
    if not panels:
        names = ', '.join(sorted(logged))
        raise ValueError(f'the events must hold loss, mIoU or learning rate, got {names}')
    figure = new_figure(2.9 * len(panels), 2.4)
    grid = figure.subplots(1, len(panels), squeeze=False)
    for axes, (title, scale, lines) in zip(grid[0], panels, strict=True):
        style_axes(axes, x='step', y=title)
        for name, (label, colour) in lines.items():
            if name in logged:
                _draw_line(axes, curves, name, scale, label=label, color=colour)
        axes.legend(fontsize=7, frameon=False)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis='x', nbins=5)
        axes.ticklabel_format(scilimits=(-2, 6))
        axes.yaxis.get_offset_text().set_fontsize(7)
    return figure


def _draw_line(axes: Any, curves: Curves, name: str, scale: float, **style: Any) -> None:
    """Draw a curve, each of its points the mean of a few neighbours where there are many."""
    points = np.array([(step, row[name] * scale) for step, row in curves.items() if name in row])
    groups = np.array_split(points, min(len(points), _POINTS))
    means = np.array([group.mean(0) for group in groups])
    axes.plot(means[:, 0], means[:, 1], linewidth=1.1, **style)
