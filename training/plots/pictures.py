"""The common look of all figures, and their files: PNG, SVG and the numbers as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
from dataclasses import dataclass, field
import io
from pathlib import Path
from typing import Any

from adjustText import adjust_text
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from dcfm_ros.files import write_bytes, write_text

# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE, ORANGE, GREEN = '#0072B2', '#E69F00', '#009E73'
VERMILLION, PURPLE, SKY, BLACK = '#D55E00', '#CC79A7', '#56B4E9', '#000000'
GREY = '#5A6875'

Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure and its numbers, not yet written."""

    figure: Figure
    rows: Sequence[Row]
    """What the CSV says."""
    note: str = ''
    numbers: dict[str, float] = field(default_factory=dict)
    """What the figure claims, by name."""

    def save(self, path: Path, *, svg: bool) -> list[Path]:
        """Write `path` with the suffixes .csv, .svg if asked for, and .png; return the files."""
        text = io.StringIO()
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        writer = csv.DictWriter(text, columns, restval='', lineterminator='\n')
        writer.writeheader()
        writer.writerows(self.rows)
        files = [path.with_suffix('.csv')]
        write_text(files[0], text.getvalue())
        for kind in ('svg', 'png') if svg else ('png',):
            data = io.BytesIO()
            self.figure.savefig(data, format=kind)
            if kind == 'png' and not any(axes.images for axes in self.figure.axes):
                # Lines and markers: with a palette they take half the space.
                image = Image.open(data).convert('RGB').quantize(255, dither=Image.Dither.NONE)
                data = io.BytesIO()
                image.save(data, format='png', optimize=True)
            files.append(path.with_suffix(f'.{kind}'))
            write_bytes(files[-1], data.getvalue())
        return files


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches whose parts keep clear of each other."""
    return Figure(figsize=(width, height), dpi=150, layout='constrained')


def style_axes(axes: Any, *, x: str, y: str, title: str = '') -> None:
    """Name the axes (with units) and give them the common look."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def place_labels(axes: Any, labels: Sequence[Any], avoid: Sequence[tuple[float, float]]) -> None:
    """Move labels to where they cover neither each other nor points.

    Args:
        axes: Limits and scales final.
        labels: Texts at the points that they name.
        avoid: (x, y) of the points, data units.
    """
    for label in labels:
        label.set(fontsize=7.5, zorder=6, path_effects=[withStroke(linewidth=2, foreground='w')])
        label.set_in_layout(False)
    axes.figure.draw_without_rendering()  # settles where the axes lie
    x, y = zip(*avoid, strict=True)
    line = {'arrowstyle': '-', 'linewidth': 0.5, 'color': GREY}
    adjust_text(
        list(labels), x, y, ax=axes, iter_lim=500, max_move=None, expand=(1.15, 1.3),
        arrowprops=line,
    )  # fmt: skip
