"""The verb `dcfm figures`: figures from evaluations, checkpoints and trainings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import (
    Checkpoint,
    Json,
    OptionalPath,
    OptionalPaths,
    print_rows,
    save_json,
    takes_options,
)
from dcfm_ros.cli.tables import DataOptions, ExcerptOptions, names_of
from dcfm_ros.keyframes.options import EngineOptions


@takes_options('device', 'dataset', 'split', 'classes', *names_of(ExcerptOptions))
def figures(
    output: Annotated[Path, typer.Option(help='Folder for figure_<name>.png and .csv.')],
    only: Annotated[
        str, typer.Option('--figures', help='Some of 1,6a,6b,7,8,9,10,curves; 6 is 6a and 6b.')
    ] = 'all',
    evaluation: Annotated[
        OptionalPaths, typer.Option(help='JSON of dcfm evaluate; repeat for several.')
    ] = None,
    checkpoint: Checkpoint = None,
    without_consistency: Annotated[
        OptionalPath, typer.Option(help='The same network trained without L_con (7, 8).')
    ] = None,
    compare: Annotated[
        OptionalPaths, typer.Option(help='Other checkpoints to show per frame (10).')
    ] = None,
    training: Annotated[
        OptionalPath, typer.Option(help='Folder of a training, for its curves.')
    ] = None,
    root: Annotated[OptionalPath, typer.Option(help='Folder of a dataset (7, 8, 10).')] = None,
    svg: Annotated[bool, typer.Option(help='Also write .svg.')] = False,
    overwrite: Annotated[bool, typer.Option(help='Make figures again that are there.')] = False,
    json_file: Json = None,
    *,
    data: DataOptions,
    excerpt: ExcerptOptions,
    engine: EngineOptions,
) -> None:
    """Make the paper's figures, and curves of a training, each with its numbers as CSV.

    Figures 1 and 6 need nothing, 9 needs --evaluation with fixed and adaptive schedules, 10 needs
    --root, 7 and 8 also --without-consistency, curves --training. Reports what is left out and
    why; fails if it is a figure that --figures names.
    """
    from dcfm_ros.training.plots.figures import make_figures, parse_figures
    from dcfm_ros.training.plots.request import FigureRequest

    outcomes = make_figures(
        FigureRequest(
            output=output,
            figures=parse_figures(only),
            evaluations=tuple(evaluation or ()),
            checkpoint=checkpoint,
            without_consistency=without_consistency,
            compare=tuple(compare or ()),
            training=training,
            data=data.choice(root) if root is not None else None,
            device=engine.device,
            svg=svg,
            overwrite=overwrite,
            **asdict(excerpt),
        )
    )
    rows = []
    for outcome in outcomes:
        claims = '\n'.join(f'{name}: {value:.4f}' for name, value in outcome.numbers.items())
        note = '\n'.join(text for text in (outcome.note, claims) if text)
        file = str(outcome.files[-1]) if outcome.files else None
        row = {'figure': outcome.figure, 'status': outcome.status, 'file': file, 'note': note}
        rows.append(row)
    print_rows(rows)
    made = [asdict(outcome) | {'files': list(map(str, outcome.files))} for outcome in outcomes]
    save_json(json_file, {'figures': made})
    bad = {'failed'} if only == 'all' else {'failed', 'left out'}
    if missing := [outcome.figure for outcome in outcomes if outcome.status in bad]:
        raise RuntimeError(f'not made: figure {", ".join(missing)}; the table says why')
