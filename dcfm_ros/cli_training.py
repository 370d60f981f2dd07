"""The verbs of `dcfm` for training and measuring; `dcfm_ros.cli` puts them beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli_options import Checkpoint, Device, Json, print_rows, save_json


def evaluate(
    root: Annotated[Path, typer.Option(help='Folder of the dataset.')],
    dataset: Annotated[str, typer.Option(help='camvid.')] = 'camvid',
    split: Annotated[str, typer.Option(help='Split with a label for every frame.')] = 'val',
    checkpoint: Checkpoint = None,
    intervals: Annotated[str, typer.Option(help='Keyframe intervals.')] = '1,2,4,8',
    phases: Annotated[str, typer.Option(help='all or first.')] = 'all',
    device: Device = 'auto',
    json_file: Json = None,
) -> None:
    """Measure accuracy and consistency with the engine that the robot runs."""
    from dcfm_ros.models.checkpoint import default_checkpoint
    from dcfm_ros.training.evaluate import evaluate_camvid

    if dataset != 'camvid':
        raise ValueError(f"`dataset` must be 'camvid', got {dataset!r}")
    figures = evaluate_camvid(
        checkpoint or default_checkpoint(),
        root,
        intervals=[int(value) for value in intervals.split(',')],
        split=split,
        phases=phases,
        device=device,
    )
    print_rows(figures['rows'])  # type: ignore[arg-type]
    typer.echo(f'label hold: {figures["label_hold"]}')
    save_json(json_file, figures)


def train(context: typer.Context) -> None:
    """Train: `dcfm train fit --config config/train/default.yaml [--help]` (Lightning CLI)."""
    from dcfm_ros.training.train import main as train_main

    train_main(context.args)
