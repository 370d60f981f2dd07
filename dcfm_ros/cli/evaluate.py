"""The verb `dcfm evaluate`; `dcfm_ros.cli.main` puts it beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from dcfm_ros.cli.options import (
    Backend,
    Checkpoint,
    ConfidenceDrop,
    Device,
    Json,
    OptionalFloat,
    OptionalInt,
    OptionalText,
    Slices,
    parse_numbers,
    print_rows,
    refuse_unused,
    save_json,
)

OptionalPaths = Optional[list[Path]]  # noqa: UP045 - as in cli_options

TABLE = (
    'checkpoint', 'schedule', 'execution', 'slices', 'interval', 'threshold', 'mode', 'miou',
    'miou_key', 'miou_nonkey', 'wiou', 'mvc8', 'mvc16', 'keyframe_share', 'streaming_miou',
    'ms_key', 'ms_nonkey', 'ms_mean',
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
    score: Annotated[
        OptionalText, typer.Option(help='What is compared, adaptive: image (default) or feature.')
    ] = None,
    confidence_drop: ConfidenceDrop = None,
    execution: Annotated[
        str,
        typer.Option(help='When the deep encoder works: sync, amortised or both with a comma.'),
    ] = 'sync',
    slices: Slices = None,
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
    motion: Annotated[
        str,
        typer.Option(help="Of a keyframe's feature: none, flow or auto (as its network says)."),
    ] = 'auto',
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
    by_age: Annotated[bool, typer.Option(help='Also print the mIoU by age of feature.')] = False,
    streaming: Annotated[bool, typer.Option(help='Also the streaming mIoU.')] = True,
    rate: Annotated[
        OptionalFloat,
        typer.Option(min=0.1, help="Frames per second of the camera, streaming; default: data's."),
    ] = None,
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
    backend: Backend = 'auto',
    json_file: Json = None,
) -> None:
    """Measure accuracy and consistency with the engine that the robot runs."""
    from dcfm_ros.models.checkpoint import find_checkpoint
    from dcfm_ros.training.evaluate import evaluate_dataset
    from dcfm_ros.training.evaluation.frame_times import FrameTimes
    from dcfm_ros.training.evaluation.jobs import Options

    if schedule == 'fixed':
        rules = {'thresholds': thresholds, 'score': score, 'confidence-drop': confidence_drop}
        limits = {'min-interval': min_interval, 'max-interval': max_interval}
        refuse_unused({**rules, **limits}, '--schedule adaptive')
    elif schedule == 'adaptive':
        refuse_unused({'intervals': intervals}, '--schedule fixed')
        if not thresholds:
            raise ValueError('--schedule adaptive needs --thresholds')
    else:
        raise ValueError(f"`schedule` must be 'fixed' or 'adaptive', got {schedule!r}")
    executions = [part.strip() for part in execution.split(',')]
    if 'amortised' not in executions:
        refuse_unused({'slices': slices}, '--execution amortised')
    if not streaming:
        refuse_unused({'rate': rate}, '--streaming')
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
        score=score or 'image',
        confidence_drop=confidence_drop,
        executions=executions,
        slices=slices,
        classes=classes,
        hold_out_share=hold_out,
        baselines=[find_checkpoint(path) for path in baseline or ()],
        floors=floors,
        options=Options(
            device=device,
            backend=backend,
            height=height or None,
            flip=flip,
            scales=tuple(parse_numbers('scales', scales, float)),
            streaming=streaming,
            frame_times=times,
            rate_hz=rate,
            motion=motion,
        ),
        jobs=jobs,
        threads=threads,
        ray_address=ray,
    )
    _print_evaluation(figures)
    if by_age:
        _print_ages(figures)
    save_json(json_file, figures)


def _print_evaluation(figures: dict[str, Any]) -> None:
    """Print the columns in which there is something to see."""
    rows = [
        row | {'interval': row['interval'] or row['average_interval']} for row in figures['rows']
    ]
    told = [name for name in TABLE if any(row.get(name) is not None for row in rows)]
    if len({row['checkpoint'] for row in rows}) == 1:
        told.remove('checkpoint')
    if {row['execution'] for row in rows} == {'sync'}:
        told.remove('execution')
    print_rows([{name: row.get(name) for name in told} for row in rows])
    if hold := figures['label_hold']:
        known = ', '.join(f'{d}: {value:.3f}' for d, value in hold.items() if value is not None)
        typer.echo(f'mIoU of the label of so many frames ago: {known or "no clip is dense"}')
    for note in figures['notes']:
        typer.echo(f'note: {note}')


def _print_ages(figures: dict[str, Any]) -> None:
    """Print what every row says of every age of the feature in use."""
    names = ('checkpoint', 'schedule', 'execution', 'interval', 'threshold')
    rows = [
        {name: row[name] for name in names} | of_age
        for row in figures['rows']
        for of_age in row['by_age']
    ]
    print_rows(rows)
