"""The verb `dcfm pseudo-label`: own footage to train on from a recording without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import (
    Checkpoint,
    parse_numbers,
    print_rows,
    takes_options,
    with_progress,
)
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.replay.options import RecordingOptions


@takes_options('device', 'inference_height', 'topic', 'rate_hz')
def pseudo_label(
    source: Annotated[str, typer.Argument(help='Bag, .mcap, video or image folder.')],
    output: Annotated[Path, typer.Option(help='Folder of the dataset to create.')],
    checkpoint: Checkpoint = None,
    every: Annotated[
        int, typer.Option(min=1, help='Label every n-th frame; all are written.')
    ] = 1,
    min_confidence: Annotated[
        float, typer.Option(help='Probability from which on a pixel keeps its label.')
    ] = 0.9,
    class_share: Annotated[
        float, typer.Option(help='Of each class this share keeps it at least, its surest pixels;')
    ] = 0.5,
    floor: Annotated[float, typer.Option(help='but none below this probability.')] = 0.6,
    scales: Annotated[str, typer.Option(help='Average over sizes.')] = '0.75,1,1.25',
    flip: Annotated[bool, typer.Option(help='Average with the mirrored image.')] = True,
    jpeg: Annotated[bool, typer.Option('--jpeg', help='JPEG images instead of PNG.')] = False,
    *,
    recorded: RecordingOptions,
    engine: EngineOptions,
) -> None:
    """Label a recording with a trained network, to train another on (dataset 'folder').

    Every frame by itself; pixels that the network is not sure of are left out.
    """
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.recordings.sources import open_source
    from dcfm_ros.training.pseudo_labels import Thresholds, label_footage
    from dcfm_ros.training.teacher import Teacher

    if source.isdecimal():
        raise ValueError(f'`source` must be a recording, which has an end, got camera {source}')
    thresholds = Thresholds(min_confidence=min_confidence, class_share=class_share, floor=floor)
    teacher = Teacher(
        find_checkpoint(checkpoint),
        parse_numbers('scales', scales, float),
        flip=flip,
        device=engine.device,
        height=engine.inference_height,
    )
    record = label_footage(
        with_progress(open_source(source, **recorded.arguments()), 'labelling'),
        teacher,
        teacher.config,
        output,
        Path(source).resolve().stem,
        thresholds=thresholds,
        every=every,
        jpeg=jpeg,
        origin={'source': source, **teacher.settings},
    )
    print_rows([{'class': name, **figures} for name, figures in record['classes'].items()])
    typer.echo(
        f'{record["images"]} images and {record["masks"]} masks in {output}, '
        f'{record["kept"]:.0%} of their pixels with a label'
    )
