"""The verb `dcfm figures`: figures from evaluations, checkpoints and trainings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.data_options import DataOptions, ExcerptOptions, names_of
from dcfm_ros.cli.options import (
    Checkpoint,
    Json,
    OptionalPath,
    OptionalPaths,
    print_rows,
    save_json,
    takes_options,
)
from dcfm_ros.engine_options import EngineOptions


@takes_options('device', 'dataset', 'split', 'classes', *names_of(ExcerptOptions))
def figures(
    output: Annotated[Path, typer.Option(help='Folder for figure_<name>.png and .csv.')],
    only: Annotated[
        str, typer.Option('--figures', help='Some of 1,6a,6b,9,10,curves; 6 is 6a and 6b.')
    ] = 'all',
    evaluation: Annotated[
        OptionalPaths, typer.Option(help='JSON of dcfm evaluate; repeat for several.')
    ] = None,
    checkpoint: Checkpoint = None,
    compare: Annotated[
        OptionalPaths, typer.Option(help='Other checkpoints to show per frame (10).')
    ] = None,
    training: Annotated[
        OptionalPath, typer.Option(help='Folder of a training, for its curves.')
    ] = None,
    root: Annotated[OptionalPath, typer.Option(help='Folder of a dataset (10).')] = None,
    svg: Annotated[bool, typer.Option(help='Also write .svg.')] = False,
    json_file: Json = None,
    *,
    data: DataOptions,
    excerpt: ExcerptOptions,
    engine: EngineOptions,
) -> None:
    """Make the paper's figures, and curves of a training, each with its numbers as CSV.

    Figures 1 and 6 need nothing, 9 needs --evaluation with fixed and adaptive schedules, 10 needs
    --root, curves --training. Reports what is left out and why; fails if it is a figure that
    --figures names.
    """
    from dcfm_ros.training.plots.figures import make_figures, parse_figures
    from dcfm_ros.training.plots.strips import Excerpt

    shown = None
    if root is not None:
        shown = Excerpt(
            data=data.choice(root),
            checkpoint=checkpoint,
            compare=tuple(compare or ()),
            device=engine.device,
            **asdict(excerpt),
        )
    names = parse_figures(only)
    outcomes = make_figures(
        output, names, evaluations=evaluation or (), training=training, excerpt=shown, svg=svg
    )
    rows = []
    for outcome in outcomes:
        claims = [f'{name}: {value:.4f}' for name, value in outcome.numbers.items()]
        note = '\n'.join(filter(None, (outcome.note, *claims)))
        file = outcome.files[-1] if outcome.files else None
        rows.append(
            {'figure': outcome.figure, 'status': outcome.status, 'file': file, 'note': note}
        )
    print_rows(rows)
    made = [asdict(outcome) | {'files': list(map(str, outcome.files))} for outcome in outcomes]
    save_json(json_file, {'figures': made})
    bad = {'failed'} if only == 'all' else {'failed', 'left out'}
    if missing := [outcome.figure for outcome in outcomes if outcome.status in bad]:
        raise RuntimeError(f'not made: figure {", ".join(missing)}; the table says why')
