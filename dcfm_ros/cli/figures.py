"""The verb `dcfm figures`: figures from evaluations, checkpoints and trainings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from dcfm_ros.cli.options import (
    Checkpoint,
    Device,
    Json,
    OptionalPath,
    OptionalText,
    print_rows,
    save_json,
)

OptionalPaths = Optional[list[Path]]  # noqa: UP045 - as in cli_options


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
    dataset: Annotated[str, typer.Option(help='Layout of the dataset (7, 8, 10).')] = 'camvid',
    root: Annotated[OptionalPath, typer.Option(help='Its folder.')] = None,
    split: Annotated[str, typer.Option(help="Part of it; 'all' if it has none.")] = 'val',
    classes: Annotated[
        OptionalText, typer.Option(help='Read labels as these classes: camvid or a file.')
    ] = None,
    clip: Annotated[
        str, typer.Option(help='Clip to show (7, 10); default: the first long enough.')
    ] = '',
    start: Annotated[int, typer.Option(min=0, help='First frame of it.')] = 0,
    frames: Annotated[int, typer.Option(min=1, help='Frames of it.')] = 6,
    interval: Annotated[int, typer.Option(min=1, help='Keyframe interval (7, 8, 10).')] = 2,
    per_class: Annotated[int, typer.Option(min=1, help='Feature vectors per class (8).')] = 300,
    seed: Annotated[int, typer.Option(min=0, help='Which vectors, which t-SNE (8).')] = 0,
    svg: Annotated[bool, typer.Option(help='Also write .svg.')] = False,
    overwrite: Annotated[bool, typer.Option(help='Make figures again that are there.')] = False,
    device: Device = 'auto',
    json_file: Json = None,
) -> None:
    """Make the paper's figures, and curves of a training, each with its numbers as CSV.

    Figures 1 and 6 need nothing, 9 needs --evaluation with fixed and adaptive schedules, 10 needs
    --root, 7 and 8 also --without-consistency, curves --training. Tells what is left out and why;
    fails if it is a figure that --figures names.
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
            dataset=dataset,
            root=root,
            split=split,
            classes=classes,
            clip=clip,
            start=start,
            frames=frames,
            interval=interval,
            per_class=per_class,
            seed=seed,
            device=device,
            svg=svg,
            overwrite=overwrite,
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
    told = [asdict(outcome) | {'files': list(map(str, outcome.files))} for outcome in outcomes]
    save_json(json_file, {'figures': told})
    bad = {'failed'} if only == 'all' else {'failed', 'left out'}
    if missing := [outcome.figure for outcome in outcomes if outcome.status in bad]:
        raise RuntimeError(f'not made: figure {", ".join(missing)}; the table says why')
