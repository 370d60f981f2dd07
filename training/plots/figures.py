"""The paper's figures 1, 6a, 6b, 7, 8, 9 and 10, and the curves of a training.

Figures 1, 6a, 6b show the published numbers and own evaluations, 9 needs evaluations of fixed and
adaptive schedules, 7, 8 and 10 need a dataset and checkpoints, curves the folder of a training. A
figure that lacks something is left out with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dcfm_ros.training.plots.curves import figure_curves
from dcfm_ros.training.plots.request import Drawing, FigureRequest
from dcfm_ros.training.plots.rows import EvaluatedRow, read_evaluation
from dcfm_ros.training.plots.schedules import figure_9
from dcfm_ros.training.plots.similarity import figure_7
from dcfm_ros.training.plots.strips import figure_10
from dcfm_ros.training.plots.style import save_figure
from dcfm_ros.training.plots.tradeoff import figure_1, figure_6a, figure_6b
from dcfm_ros.training.plots.tsne import figure_8

FIGURES: dict[str, Callable[[FigureRequest, Sequence[EvaluatedRow]], Drawing | str]] = {
    '1': figure_1,
    '6a': figure_6a,
    '6b': figure_6b,
    '7': figure_7,
    '8': figure_8,
    '9': figure_9,
    '10': figure_10,
    'curves': figure_curves,
}
"""What draws each figure, by its number in the paper; a string says why it must be left out."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a figure."""

    figure: str
    status: str
    """'made', 'kept' (it was there), 'left out' (an input is missing) or 'failed'."""
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
        return tuple(FIGURES)
    wanted = [name.strip() for name in text.split(',')]
    known = {**{name: (name,) for name in FIGURES}, '6': ('6a', '6b')}
    if unknown := [name for name in wanted if name not in known]:
        allowed = ', '.join(('all', *sorted(known)))
        raise ValueError(f'`figures` must be some of {allowed}, got {", ".join(unknown)}')
    return tuple(dict.fromkeys(name for given in wanted for name in known[given]))


def make_figures(request: FigureRequest) -> list[Outcome]:
    """Make every figure that the inputs allow; what stops one does not stop the others.

    Raises:
        FileNotFoundError: If an evaluation does not exist.
        ValueError: If an evaluation cannot be used.
    """
    rows = [row for path in request.evaluations for row in read_evaluation(path)]
    outcomes = []
    progress = tqdm(request.figures or FIGURES, 'figures', disable=None)
    for name in progress:
        progress.set_postfix_str(name)
        path = request.output / f'figure_{name}.png'
        if path.exists() and not request.overwrite:
            note = 'it was there; --overwrite makes it again'
            outcomes.append(Outcome(figure=name, status='kept', note=note, files=(path,)))
            continue
        try:
            drawing = FIGURES[name](request, rows)
            if isinstance(drawing, str):
                outcomes.append(Outcome(figure=name, status='left out', note=drawing))
                continue
            files = save_figure(
                path, drawing.figure, drawing.rows, svg=request.svg,
                few_colours=drawing.few_colours,
            )  # fmt: skip
        except (ValueError, OSError, RuntimeError) as error:
            outcomes.append(Outcome(figure=name, status='failed', note=str(error)))
            continue
        outcomes.append(
            Outcome(
                figure=name, status='made', note=drawing.note, files=tuple(files),
                numbers=drawing.numbers,
            )
        )  # fmt: skip
    return outcomes
