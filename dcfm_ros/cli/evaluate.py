"""The verb `dcfm evaluate`: accuracy, consistency and times on labelled frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dcfm_ros.cli.data_options import DataOptions, StreamOptions, WorkerOptions, names_of
from dcfm_ros.cli.options import (
    FLAGS,
    Checkpoint,
    Groups,
    Json,
    OptionalPaths,
    OptionalText,
    parse_numbers,
    print_rows,
    refuse_unused,
    save_json,
    takes_options,
)
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

TABLE = (
    'checkpoint', 'schedule', 'execution', 'slices', 'interval', 'threshold', 'mode', 'miou',
    'coarse_miou', 'group_miou', 'miou_key', 'miou_nonkey', 'wiou', 'mvc8', 'mvc16', 'ece',
    'keyframe_share', 'streaming_miou', 'ms_key', 'ms_nonkey', 'ms_mean',
)  # fmt: skip
"""Figures of an evaluation that are printed; the JSON has them all."""
_LIMITS = ('keyframe_score', 'min_keyframe_interval', 'max_keyframe_interval')
_NETWORK = tuple(name for name in names_of(EngineOptions) if name != 'execution')


@takes_options(*_NETWORK, *_LIMITS, *names_of(DataOptions, StreamOptions, WorkerOptions))
def evaluate(
    root: Annotated[Path, typer.Option(help='Folder of the dataset.')],
    checkpoint: Checkpoint = None,
    schedule: Annotated[str, typer.Option(help='fixed or adaptive.')] = 'fixed',
    intervals: Annotated[
        OptionalText, typer.Option(help='Keyframe intervals, fixed; default: 1,2,4,8.')
    ] = None,
    thresholds: Annotated[OptionalText, typer.Option(help='Change scores, adaptive.')] = None,
    execution: Annotated[
        str,
        typer.Option(help='When the deep encoder works: sync, amortised or both with a comma.'),
    ] = 'sync',
    mode: Annotated[
        str, typer.Option(help="past (as on the robot) or both (the paper's B mode, offline).")
    ] = 'past',
    phases: Annotated[
        str,
        typer.Option(help='First keyframe: each of the first ones (all), first or video-index.'),
    ] = 'all',
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
    groups: Groups = None,
    by_age: Annotated[bool, typer.Option(help='Also print the mIoU by age of feature.')] = False,
    json_file: Json = None,
    *,
    data: DataOptions,
    limits: ScheduleOptions,
    engine: EngineOptions,
    stream: StreamOptions,
    workers: WorkerOptions,
) -> None:
    """Measure accuracy and consistency with the engine that the robot runs."""
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.training.evaluation.evaluate import evaluate_dataset
    from dcfm_ros.training.evaluation.jobs import Options
    from dcfm_ros.training.evaluation.setting import settings_of

    executions = [part.strip() for part in execution.split(',')]
    if engine.execution_slices and 'amortised' not in executions:
        raise ValueError(f'--slices ({engine.execution_slices}) needs --execution amortised')
    settings = settings_of(
        _schedules(schedule, intervals, thresholds, limits),
        executions,
        engine.execution_slices,
        mode=mode,
        phases=phases,
    )
    figures: dict[str, Any] = evaluate_dataset(
        find_checkpoint(checkpoint),
        data.choice(root),
        settings,
        baselines=[find_checkpoint(path) for path in baseline or ()],
        floors=floors,
        options=Options(
            engine=replace(engine, execution_slices=0),
            flip=flip,
            scales=tuple(parse_numbers('scales', scales, float)),
            streaming=stream.streaming,
            frame_times=stream.frame_times(),
            rate_hz=stream.rate or None,
        ),
        groups=groups,
        **workers.values(threads=1),
    )
    _print_evaluation(figures)
    if by_age:
        _print_ages(figures)
    save_json(json_file, figures)


def _schedules(
    schedule: str, intervals: str | None, thresholds: str | None, limits: ScheduleOptions
) -> Iterator[ScheduleOptions]:
    """A schedule per interval or threshold."""
    if schedule == 'fixed':
        refuse_unused({'thresholds': thresholds}, '--schedule adaptive')
        for name in _LIMITS:
            if (value := getattr(limits, name)) != getattr(ScheduleOptions(), name):
                raise ValueError(f'{FLAGS[name].split()[0]} ({value}) needs --schedule adaptive')
        for interval in parse_numbers('intervals', intervals or '1,2,4,8', int):
            yield ScheduleOptions(keyframe_interval=interval)
    elif schedule == 'adaptive':
        refuse_unused({'intervals': intervals}, '--schedule fixed')
        if not thresholds:
            raise ValueError('--schedule adaptive needs --thresholds')
        for threshold in parse_numbers('thresholds', thresholds, float):
            yield replace(limits, schedule='adaptive', change_threshold=threshold)
    else:
        raise ValueError(f"`schedule` must be 'fixed' or 'adaptive', got {schedule!r}")


def _print_evaluation(figures: dict[str, Any]) -> None:
    """Print the columns in which there is something to see."""
    rows = [
        row | {'interval': row['interval'] or row['average_interval']} for row in figures['rows']
    ]
    shown = [name for name in TABLE if any(row.get(name) is not None for row in rows)]
    if len({row['checkpoint'] for row in rows}) == 1:
        shown.remove('checkpoint')
    if {row['execution'] for row in rows} == {'sync'}:
        shown.remove('execution')
    print_rows([{name: row.get(name) for name in shown} for row in rows])
    for how in sorted({(row['backend'], row['precision']) for row in rows if row['backend']}):
        typer.echo(f'computed with backend {how[0]} in precision {how[1]}')
    if hold := figures['label_hold']:
        known = ', '.join(f'{d}: {value:.3f}' for d, value in hold.items() if value is not None)
        typer.echo(f'mIoU of the label of N frames ago, by N: {known or "no clip is dense"}')
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
