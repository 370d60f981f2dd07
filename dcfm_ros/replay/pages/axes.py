"""The look of every plot."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DEEP, SHALLOW = 'with deep encoder', 'without'
"""Frames on which the deep encoder worked (in execution 'sync', keyframes), and others."""
COLOURS = {True: '#d8663b', False: '#3b7dd8'}
"""Of frames with and without it."""
GREY, DARK, RED = '#8a97a5', '#1c2733', '#b00020'


def plot_axes(height: float) -> tuple[Figure, Axes]:
    """An empty plot of the page's width, `height` in inches."""
    figure = Figure(figsize=(10, height), layout='constrained')
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def legend_above(axes: Axes) -> None:
    """A legend that covers nothing."""
    axes.legend(loc='lower right', bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)


def legend_beside(axes: Axes) -> None:
    """A legend on the right, for many entries."""
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
