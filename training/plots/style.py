"""One look for every figure, and files that appear as a whole: PNG, SVG and the numbers as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dcfm_ros.files import write_text

DPI = 150
# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE, ORANGE, GREEN = '#0072B2', '#E69F00', '#009E73'
VERMILLION, PURPLE, SKY, BLACK = '#D55E00', '#CC79A7', '#56B4E9', '#000000'
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
GREY = '#5A6875'

_ANGLES = (0, 180, 90, 270, 45, 315, 135, 225)
_GAPS_PT = (2.0, 8.0, 16.0, 26.0, 38.0)

_PALETTE = 64

Row = Mapping[str, object]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), dpi=DPI, layout='constrained')


def style_axes(axes: Any, *, x: str, y: str, title: str = '') -> None:
    """Name the axes (with units) and give them the common look."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if title:
        axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def log_ticks(axes: Any, ticks: Sequence[float]) -> None:
    """Make the x axis logarithmic, with plain numbers at `ticks`."""
    axes.set_xscale('log')
    axes.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
    axes.minorticks_off()


def save_figure(
    path: Path,
    figure: Figure,
    rows: Sequence[Row],
    *,
    svg: bool = False,
    few_colours: bool = False,
) -> list[Path]:
    """Write `path` (.png) and beside it what was plotted (.csv) and, if asked for, an .svg.

    Args:
        path: The .png.
        figure: What to write.
        rows: What the .csv says.
        svg: Write an .svg too.
        few_colours: Store the .png with a palette, as suits lines on white.

    Returns:
        What was written. The .png is last, so that where it is, the rest is too.
    """
    written = [path.with_suffix('.csv'), path]
    write_text(written[0], _as_csv(rows))
    if svg:
        written.insert(1, path.with_suffix('.svg'))
        text = io.StringIO()
        figure.savefig(text, format='svg')
        write_text(written[1], text.getvalue())
    temporary = path.with_name(f'.{path.name}.part')
    figure.savefig(temporary, format='png', dpi=DPI)
    if few_colours:
        with Image.open(temporary) as image:
            palette = image.convert('RGB').quantize(_PALETTE, dither=Image.Dither.NONE)
        palette.save(temporary, format='png', optimize=True)
    temporary.replace(path)
    return written


def place_labels(
    axes: Any,
    labels: Sequence[tuple[float, float, str]],
    *,
    radii_pt: Sequence[float],
    colours: Sequence[str],
    bold: Sequence[bool],
    obstacles: Sequence[tuple[float, float]] = (),
    size: float = 7.5,
) -> None:
    """Write a label beside each point where it covers neither a point nor another label.

    Args:
        axes: Where the points have been drawn, limits and scales final.
        labels: (x, y, text) of each point, in data units; the first is placed first.
        radii_pt: Radius of each point's marker, in points.
        colours: Colour of each label.
        bold: Whether to set it in bold.
        obstacles: (x, y) of what labels should not cover either, such as points of a line.
        size: Of the letters, in points.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # settles where the axes lie
    scale = figure.dpi / 72
    places = [axes.transData.transform((x, y)) for x, y, _ in labels]
    taken = [
        (x - reach, y - reach, x + reach, y + reach)
        for (x, y), reach in [
            *zip(places, (radius * scale for radius in radii_pt), strict=True),
            *((axes.transData.transform(place), 1.5 * scale) for place in obstacles),
        ]
    ]
    styles = zip(labels, places, radii_pt, colours, bold, strict=True)
    for (x, y, text), place, radius, colour, is_bold in styles:
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords='offset points', ha='center', va='center',
            fontsize=size, color=colour, fontweight='bold' if is_bold else 'normal', zorder=6,
            arrowprops={'arrowstyle': '-', 'color': colour, 'linewidth': 0.5, 'shrinkA': 0,
                        'shrinkB': radius},
        )  # fmt: skip
        label.set_in_layout(False)
        label.set_path_effects([withStroke(linewidth=1.8, foreground='white')])
        extent = Text.get_window_extent(label)  # an annotation's own would count its arrow
        half = np.array([extent.width / 2 + scale, extent.height / 2])
        offsets = _directions() * (radius * scale + half) + _directions() * _gaps() * scale
        low, high = place + offsets - half, place + offsets + half
        cost = _overlap(low, high, np.array(taken)).sum(1)
        area = np.array([axes.bbox.extents])
        cost += 5 * (4 * half.prod() - _overlap(low, high, area)[:, 0])
        cost += _gaps()[:, 0] * scale  # nearer is better
        best = int(cost.round(3).argmin())  # of equal ones the first: not by rounding errors
        label.set_position(offsets[best] / scale)
        label.arrow_patch.set_visible(_gaps()[best, 0] > _GAPS_PT[1])
        taken.append((*low[best], *high[best]))


def _directions() -> NDArray[np.float64]:
    """Unit vector of every place to try, (N, 2), near ones first."""
    angles = np.radians(np.tile(_ANGLES, len(_GAPS_PT)))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _gaps() -> NDArray[np.float64]:
    """Points between marker and label at every place to try, (N, 1)."""
    return np.repeat(_GAPS_PT, len(_ANGLES))[:, None]


def _overlap(
    low: NDArray[np.float64], high: NDArray[np.float64], boxes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Area that each of N boxes (corners (N, 2)) shares with each of M (M, 4), (N, M)."""
    start = np.maximum(low[:, None], boxes[None, :, :2])
    end = np.minimum(high[:, None], boxes[None, :, 2:])
    return np.asarray(np.maximum(end - start, 0.0).prod(2), np.float64)


def _as_csv(rows: Sequence[Row]) -> str:
    """The rows as comma-separated values; columns are all keys, in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
