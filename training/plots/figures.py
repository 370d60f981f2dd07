"""The paper's figures 1, 6a, 6b, 9 and 10, and the curves of a training.

Figures 1, 6a, 6b show the published numbers and own evaluations, 9 needs evaluations of fixed and
adaptive schedules, 10 a dataset and checkpoints, curves the folder of a training. A figure that
lacks something is left out with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dcfm_ros.training.plots.curves import figure_curves
from dcfm_ros.training.plots.evaluations import read_evaluation
from dcfm_ros.training.plots.pictures import Drawing
from dcfm_ros.training.plots.schedules import figure_9
from dcfm_ros.training.plots.strips import Excerpt, figure_10
from dcfm_ros.training.plots.tradeoff import figure_1, figure_6a, figure_6b

FIGURES = ('1', '6a', '6b', '9', '10', 'curves')
"""Numbers in the paper, and the curves of a training."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a figure."""

    figure: str
    status: str
    """'made', 'left out' (an input is missing) or 'failed'."""
    note: str = ''
    """The reason, or what else there is to say."""
    files: tuple[Path, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)


def parse_figures(text: str) -> tuple[str, ...]:
    """Names of figures from '1,6,9'; 6 means 6a and 6b, 'all' every figure.

    Raises:
        ValueError: If there is no such figure; all that are unknown are named.
    """
    if text == 'all':
        return FIGURES
    wanted = [name.strip() for name in text.split(',')]
    known = {**{name: (name,) for name in FIGURES}, '6': ('6a', '6b')}
    if unknown := [name for name in wanted if name not in known]:
        allowed = ', '.join(('all', *sorted(known)))
        raise ValueError(f'`figures` must be some of {allowed}, got {", ".join(unknown)}')
    return tuple(dict.fromkeys(name for given in wanted for name in known[given]))


def make_figures(
    output: Path,
    figures: Sequence[str] = FIGURES,
    *,
    evaluations: Sequence[Path] = (),
    training: Path | None = None,
    excerpt: Excerpt | None = None,
    svg: bool = False,
) -> list[Outcome]:
    """Make every figure that the inputs allow; what stops one does not stop the others.

    Args:
        output: Folder for figure_<name>.csv and .png.
        figures: Some of `FIGURES`.
        evaluations: JSON files of `dcfm evaluate`.
        training: Folder of the training whose curves are drawn.
        excerpt: What figure 10 shows.
        svg: Also write .svg.

    Raises:
        FileNotFoundError: If an evaluation does not exist.
        ValueError: If an evaluation cannot be used.
    """
    rows = [row for path in evaluations for row in read_evaluation(path)]
    draw: dict[str, Callable[[], Drawing | str]] = {
        '1': lambda: figure_1(rows),
        '6a': lambda: figure_6a(rows),
        '6b': lambda: figure_6b(rows),
        '9': lambda: figure_9(rows),
        '10': lambda: figure_10(excerpt),
        'curves': lambda: figure_curves(training),
    }
    return [_make(name, draw[name], output, svg=svg) for name in figures]


def _make(name: str, draw: Callable[[], Drawing | str], output: Path, *, svg: bool) -> Outcome:
    try:
        drawing = draw()
        if isinstance(drawing, str):
            return Outcome(figure=name, status='left out', note=drawing)
        files = tuple(drawing.save(output / f'figure_{name}', svg=svg))
    except (ValueError, OSError, RuntimeError) as error:
        return Outcome(figure=name, status='failed', note=str(error))
    note, numbers = drawing.note, drawing.numbers
    return Outcome(figure=name, status='made', note=note, files=files, numbers=numbers)
