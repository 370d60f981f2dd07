"""The verbs of `dcfm` for training and measuring; `dcfm_ros.cli` puts them beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli_options import (
    Checkpoint,
    Device,
    Json,
    OptionalPath,
    OptionalText,
    Rate,
    Topic,
    print_rows,
    save_json,
    with_progress,
)


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


def extract(
    source: Annotated[str, typer.Argument(help='Bag, .mcap, video or image folder.')],
    output: Annotated[Path, typer.Option(help='Folder of the dataset to add a clip to.')],
    split: Annotated[str, typer.Option(help="Its split; 'all': it has none.")] = 'train',
    name: Annotated[
        OptionalText, typer.Option(help='Of the clip; default: as the source.')
    ] = None,
    every: Annotated[int, typer.Option(min=1, help='Take every n-th frame only.')] = 1,
    topic: Topic = None,
    label_topic: Annotated[OptionalText, typer.Option(help='Mask topic of a bag.')] = None,
    labels: Annotated[
        OptionalPath, typer.Option(help='Folder of PNG masks beside an image folder.')
    ] = None,
    rate: Rate = 15.0,
    jpeg: Annotated[bool, typer.Option('--jpeg', help='JPEG images instead of PNG.')] = False,
    classes: Annotated[
        OptionalText,
        typer.Option(help='Write classes.yaml: camvid, cityscapes, vspw or a file to copy.'),
    ] = None,
) -> None:
    """Write a recording as images and masks, to label and to train on (dataset 'folder')."""
    from dcfm_ros.extract import ExtractOptions, extract_frames
    from dcfm_ros.files import write_text
    from dcfm_ros.sources import open_source
    from dcfm_ros.training.label_sets import class_file_text, load_label_set

    if classes is not None:
        class_file, text = output / 'classes.yaml', class_file_text(load_label_set(classes))
        if class_file.exists() and class_file.read_text(encoding='utf-8') != text:
            raise ValueError(f'{class_file} exists and names other classes than {classes}')
        write_text(class_file, text)
    options = ExtractOptions(topic=topic, label_topic=label_topic, every=every, jpeg=jpeg)
    frames = open_source(source, topic=topic, label_topic=label_topic, labels=labels, rate_hz=rate)
    folder = (output if split == 'all' else output / split) / (name or Path(source).stem)
    recorded = {'recording': source}
    images, masks = extract_frames(with_progress(frames, 'extracting'), folder, options, recorded)
    typer.echo(f'{images} images and {masks} masks in {folder}')


def train(context: typer.Context) -> None:
    """Train: `dcfm train fit --config config/train/default.yaml [--help]` (Lightning CLI)."""
    from dcfm_ros.training.train import main as train_main

    train_main(context.args)
