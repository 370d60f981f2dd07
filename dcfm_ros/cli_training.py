"""The verbs of `dcfm` for training and measuring; `dcfm_ros.cli` puts them beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from dcfm_ros.cli_options import (
    Checkpoint,
    Device,
    Json,
    OptionalFloat,
    OptionalInt,
    OptionalPath,
    OptionalText,
    Rate,
    Topic,
    parse_numbers,
    print_rows,
    save_json,
    with_progress,
)

OptionalPaths = Optional[list[Path]]  # noqa: UP045 - as in cli_options

TABLE = (
    'checkpoint', 'schedule', 'interval', 'threshold', 'mode', 'miou', 'miou_key', 'miou_nonkey',
    'wiou', 'mvc8', 'mvc16', 'keyframe_share', 'streaming_miou', 'ms_key', 'ms_nonkey',
)  # fmt: skip
"""Figures of an evaluation that are printed; the JSON has them all."""


def evaluate(
    root: Annotated[Path, typer.Option(help='Folder of the dataset.')],
    dataset: Annotated[
        str, typer.Option(help='camvid, camvid_raw, cityscapes, vspw, folder, bag or synthetic.')
    ] = 'camvid',
    split: Annotated[str, typer.Option(help="Part of it; 'all' if it has none.")] = 'val',
    checkpoint: Checkpoint = None,
    schedule: Annotated[str, typer.Option(help='fixed or adaptive.')] = 'fixed',
    intervals: Annotated[
        OptionalText, typer.Option(help='Keyframe intervals, fixed; default: 1,2,4,8.')
    ] = None,
    thresholds: Annotated[OptionalText, typer.Option(help='Change scores, adaptive.')] = None,
    min_interval: Annotated[
        OptionalInt, typer.Option(min=1, help='Frames, adaptive; default: 1.')
    ] = None,
    max_interval: Annotated[OptionalInt, typer.Option(min=1, help='Frames, adaptive.')] = None,
    mode: Annotated[
        str, typer.Option(help="past (as on the robot) or both (the paper's B mode, offline).")
    ] = 'past',
    phases: Annotated[
        str,
        typer.Option(help='First keyframe: each of the first ones (all), first or video-index.'),
    ] = 'all',
    classes: Annotated[
        OptionalText, typer.Option(help='Read labels as these classes: camvid or a file.')
    ] = None,
    hold_out: Annotated[
        OptionalFloat,
        typer.Option(help='Only what a training with this data.hold_out_share validates on.'),
    ] = None,
    height: Annotated[
        int, typer.Option(min=0, help='Rows to work at; 0: each network as it was trained.')
    ] = 0,
    flip: Annotated[bool, typer.Option(help='Average with the mirrored image.')] = False,
    scales: Annotated[
        str, typer.Option(help='Average over sizes, 0.75,1,1.25 for example; interval 1 only.')
    ] = '',
    baseline: Annotated[
        OptionalPaths, typer.Option(help='Also this network, on every frame by itself.')
    ] = None,
    floors: Annotated[
        bool, typer.Option(help='Also masks held, and every frame by itself.')
    ] = True,
    streaming: Annotated[bool, typer.Option(help='Also the streaming mIoU.')] = True,
    key_ms: Annotated[
        OptionalFloat, typer.Option(min=0, help='Assume this time, streaming.')
    ] = None,
    nonkey_ms: Annotated[
        OptionalFloat, typer.Option(min=0, help='Assume this time, streaming.')
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help='Processes.')] = 1,
    threads: Annotated[
        int,
        typer.Option(
            min=1, help='Of each process; times are for so many, and sums are rounded by them.'
        ),
    ] = 1,
    ray: Annotated[
        OptionalText, typer.Option(help='local, or a Ray cluster: auto or HOST:PORT.')
    ] = None,
    device: Device = 'auto',
    json_file: Json = None,
) -> None:
    """Measure accuracy and consistency with the engine that the robot runs."""
    from dcfm_ros.models.checkpoint import find_checkpoint
    from dcfm_ros.training.evaluate import evaluate_dataset
    from dcfm_ros.training.evaluation.jobs import Options
    from dcfm_ros.training.evaluation.streaming import FrameTimes

    if schedule == 'fixed':
        limits = {'min-interval': min_interval, 'max-interval': max_interval}
        _refuse({'thresholds': thresholds, **limits}, '--schedule adaptive')
    elif schedule == 'adaptive':
        _refuse({'intervals': intervals}, '--schedule fixed')
        if not thresholds:
            raise ValueError('--schedule adaptive needs --thresholds')
    else:
        raise ValueError(f"`schedule` must be 'fixed' or 'adaptive', got {schedule!r}")
    if (key_ms is None) != (nonkey_ms is None):
        raise ValueError('`key_ms` and `nonkey_ms` must be given both or not at all')
    times = None if key_ms is None or nonkey_ms is None else FrameTimes(key_ms, nonkey_ms)
    figures: dict[str, Any] = evaluate_dataset(
        find_checkpoint(checkpoint),
        dataset,
        root,
        split,
        parse_numbers('intervals', '1,2,4,8' if intervals is None else intervals, int)
        if schedule == 'fixed'
        else (),
        parse_numbers('thresholds', thresholds or '', float),
        mode,
        phases,
        min_interval=min_interval or 1,
        max_interval=max_interval,
        classes=classes,
        hold_out_share=hold_out,
        baselines=[find_checkpoint(path) for path in baseline or ()],
        floors=floors,
        options=Options(
            device=device,
            height=height or None,
            flip=flip,
            scales=tuple(parse_numbers('scales', scales, float)),
            streaming=streaming,
            frame_times=times,
        ),
        jobs=jobs,
        threads=threads,
        ray_address=ray,
    )
    _print_evaluation(figures)
    save_json(json_file, figures)


def _refuse(options: dict[str, object], needed: str) -> None:
    """Raise ValueError if one is given (not None) without what it needs."""
    for name, value in options.items():
        if value is not None:
            raise ValueError(f'--{name} ({value}) needs {needed}')


def _print_evaluation(figures: dict[str, Any]) -> None:
    """Print the columns in which there is something to see."""
    rows = [
        row | {'interval': row['interval'] or row['average_interval']} for row in figures['rows']
    ]
    told = [name for name in TABLE if any(row.get(name) is not None for row in rows)]
    if len({row['checkpoint'] for row in rows}) == 1:
        told.remove('checkpoint')
    print_rows([{name: row.get(name) for name in told} for row in rows])
    if hold := figures['label_hold']:
        known = ', '.join(f'{d}: {value:.3f}' for d, value in hold.items() if value is not None)
        typer.echo(f'mIoU of the label of so many frames ago: {known or "no clip is dense"}')
    for note in figures['notes']:
        typer.echo(f'note: {note}')


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
    from dcfm_ros.training.ablate import run_study
    from dcfm_ros.training.studies import study as find_study
    from dcfm_ros.training.study_data import EvaluationData
    from dcfm_ros.training.study_table import as_markdown

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
                dataset=dataset,
                root=Path(root),
                split=split,
                interval=interval or chosen.interval,
                mode=mode or chosen.mode,
                classes=classes,
                hold_out_share=_share(share[0]) if share else None,
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
