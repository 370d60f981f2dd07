"""The verbs of `dcfm` for training; `dcfm_ros.cli.main` puts them beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import (
    Json,
    OptionalInt,
    OptionalText,
    parse_numbers,
    save_json,
)


def train(context: typer.Context) -> None:
    """Train: `dcfm train fit --config config/train/default.yaml [--help]` (Lightning CLI)."""
    from dcfm_ros.training.train import main as train_main

    train_main(context.args)


def ablate(
    study: Annotated[
        str,
        typer.Argument(
            help='decomposition (Table V), losses (VI), loss_types (VII), gaps, or a folder with '
            'a yaml per row.'
        ),
    ],
    evaluate_on: Annotated[
        list[str],
        typer.Option(
            help='DATASET:ROOT:SPLIT[:HOLD_OUT], for example camvid:data/camvid:val, or '
            'camvid:data/camvid:train:0.1 for what a training validates on; repeatable.'
        ),
    ],
    config: Annotated[
        list[Path], typer.Option(help='Training yaml; repeatable, later ones on top.')
    ] = [Path('config/train/ablation.yaml')],  # noqa: B006 - typer copies it
    output: Annotated[Path, typer.Option(help='Folder of all runs.')] = Path('out/ablation'),
    seeds: Annotated[str, typer.Option(help='One training of every row for each.')] = '1,2,3',
    interval: Annotated[
        OptionalInt,
        typer.Option(min=1, help='Keyframe interval, frames; default: 2, gaps 6, folders 4.'),
    ] = None,
    mode: Annotated[
        OptionalText, typer.Option(help='both or past; default: both, gaps and folders past.')
    ] = None,
    classes: Annotated[
        OptionalText, typer.Option(help='Read labels as these classes: camvid or a file.')
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help='Trainings at the same time.')] = 1,
    threads: Annotated[
        OptionalInt, typer.Option(min=1, help='Of each training; default: all cores, shared out.')
    ] = None,
    ray: Annotated[OptionalText, typer.Option(help='Ray cluster: local, auto, host:port.')] = None,
    json_file: Json = None,
) -> None:
    """Train and evaluate every row of an ablation table, beside the published figures.

    Started again it goes on where it stopped; the full model is trained once for all tables.
    """
    from dcfm_ros.training.evaluation.clip_choice import ClipChoice
    from dcfm_ros.training.studies.ablate import run_study
    from dcfm_ros.training.studies.study_data import EvaluationData
    from dcfm_ros.training.studies.study_table import as_markdown
    from dcfm_ros.training.studies.variants import study as find_study

    chosen = find_study(study)
    data = []
    for text in evaluate_on:
        parts = text.split(':')
        if len(parts) not in (3, 4):
            expected = 'DATASET:ROOT:SPLIT or DATASET:ROOT:SPLIT:HOLD_OUT'
            raise ValueError(f'`evaluate-on` must be {expected}, got {text!r}')
        dataset, root, split, *share = parts
        data.append(
            EvaluationData(
                choice=ClipChoice(
                    dataset=dataset,
                    root=Path(root),
                    split=split,
                    classes=classes,
                    hold_out_share=_share(share[0]) if share else None,
                ),
                interval=interval or chosen.interval,
                mode=mode or chosen.mode,
            )
        )
    numbers = parse_numbers('seeds', seeds, int)
    figures = run_study(chosen, config, data, output, numbers, jobs, ray, threads)
    typer.echo(f'{figures["study"]}\n{as_markdown(figures)}')
    for note in figures['notes']:
        typer.echo(f'note: {note}')
    save_json(json_file or output / f'{Path(study).resolve().name}.json', figures)


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f'`evaluate-on` must end with a number if anything, got {text!r}'
        ) from None
