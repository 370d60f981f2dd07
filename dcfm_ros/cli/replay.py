"""The verb `dcfm replay`; `dcfm_ros.cli.main` puts it beside the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from dcfm_ros.cli.options import (
    Adaptive,
    Backend,
    Checkpoint,
    ConfidenceDrop,
    Device,
    FixedInterval,
    Height,
    Json,
    MaxAge,
    MaxInterval,
    OptionalInt,
    OptionalPath,
    OptionalText,
    Score,
    Slices,
    Topic,
    print_rows,
    print_summary,
    refuse_unused,
    save_json,
    with_progress,
)
from dcfm_ros.cli.replay_online import (
    Mode,
    Namespace,
    Online,
    PeakLimits,
    Pid,
    Profile,
    Rates,
    Reliability,
    Runs,
    Seconds,
    online_options,
)

if TYPE_CHECKING:
    from dcfm_ros.replay.offline import ReplayOptions
    from dcfm_ros.replay.run import ReplayRun

OptionalPaths = Optional[list[Path]]  # noqa: UP045 - as in cli_options
OptionalPair = Optional[tuple[Path, Path]]  # noqa: UP045
OptionalBool = Optional[bool]  # noqa: UP045

_PRINTED = (
    'frames_sent', 'masks_received', 'latency_ms', 'latency_ms_key', 'latency_ms_nonkey',
    'jitter_ms', 'keyframe_share', 'keyframe_reasons', 'keyframe_age', 'temporal', 'losses',
)  # fmt: skip
"""Figures of a replay that are printed; report.json has them all."""


def replay(
    bags: Annotated[
        OptionalPaths,
        typer.Argument(help='Bags: rosbag2 folders, .mcap, .db3 or ROS 1 .bag files.'),
    ] = None,
    report: Annotated[
        OptionalPath,
        typer.Option(help='Folder for the report; default: out/replay.'),
    ] = None,
    topic: Topic = None,
    truth_topic: Annotated[
        OptionalText, typer.Option(help='Mask topic with the true classes, for the mIoU.')
    ] = None,
    compare: Annotated[
        OptionalPair, typer.Option(help='Compare two reports instead of replaying.')
    ] = None,
    force: Annotated[
        bool, typer.Option(help='Also compare reports of different recordings.')
    ] = False,
    checkpoint: Checkpoint = None,
    interval: FixedInterval = None,
    adaptive: Adaptive = None,
    max_interval: MaxInterval = None,
    score: Score = None,
    confidence_drop: ConfidenceDrop = None,
    execution: Annotated[
        str, typer.Option(help='When the deep encoder works: sync or amortised.')
    ] = 'sync',
    slices: Slices = None,
    max_age: MaxAge = None,
    max_time_gap: Annotated[
        float, typer.Option(min=0.0, help='Stamps farther apart (s) make a keyframe; 0: never.')
    ] = 1.0,
    fidelity: Annotated[
        OptionalBool,
        typer.Option(
            '--fidelity/--no-fidelity',
            help='Also run every frame by itself and compare; default: where there are no labels.',
        ),
    ] = None,
    device: Device = 'auto',
    backend: Backend = 'auto',
    height: Height = 0,
    jobs: Annotated[int, typer.Option(min=1, help='Bags at a time, in processes.')] = 1,
    threads: Annotated[
        OptionalInt, typer.Option(min=1, help='Of each process; default: the cores, shared out.')
    ] = None,
    ray: Annotated[
        OptionalText, typer.Option(help='local, or a Ray cluster: auto or HOST:PORT.')
    ] = None,
    online: Online = False,
    mode: Mode = None,
    rates: Rates = None,
    seconds: Seconds = None,
    runs: Runs = None,
    peak_limits: PeakLimits = None,
    reliability: Reliability = None,
    fastdds_profile: Profile = None,
    namespace: Namespace = None,
    pid: Pid = None,
    json_file: Json = None,
) -> None:
    """Replay bags through the engine, without ROS: every frame, the same masks every time.

    One bag gets report.html, report.json, frames.csv and overlay.mp4; several get a folder each
    and fleet.html and fleet.json over all of them. With --online, one bag is played to the node.
    """
    from dcfm_ros.models.checkpoint import find_checkpoint
    from dcfm_ros.replay.offline import ReplayOptions

    if compare is not None:
        if bags:
            raise ValueError(f'--compare takes two reports and no bags, got {bags}')
        _compare(*compare, report or Path('out/replay_comparison'), force, json_file)
        return
    refuse_unused({'force': force or None}, '--compare')
    if not bags:
        raise ValueError('name at least one bag, or --compare and two reports')
    if execution != 'amortised':
        refuse_unused({'slices': slices}, '--execution amortised')
    given = {
        'mode': mode,
        'rates': rates,
        'seconds': seconds,
        'runs': runs,
        'peak_limits': peak_limits,
        'reliability': reliability,
        'fastdds_profile': fastdds_profile,
        'namespace': namespace,
        'pid': pid,
    }
    folder = report or Path('out/replay')
    schedule = None
    if online:
        node: dict[str, Any] = {
            'keyframe_interval': interval,
            'schedule': None if adaptive is None else 'adaptive',
            'change_threshold': adaptive,
            'max_keyframe_interval': max_interval,
            'keyframe_score': None if adaptive is None else score or 'image',
            'confidence_drop': confidence_drop,
            'execution': None if execution == 'sync' else execution,
            'execution_slices': slices,
            'max_feature_age': max_age,
            'max_time_gap_s': None if max_time_gap == 1.0 else max_time_gap,
            'device': None if device == 'auto' else device,
            'backend': None if backend == 'auto' else backend,
            'inference_height': height or None,
            'cpu_threads': threads,
        }
        offline = {'fidelity': fidelity, 'jobs': None if jobs == 1 else jobs, 'ray': ray}
        _replay_online(
            bags,
            folder,
            json_file,
            given=given,
            node=node,
            offline=offline,
            checkpoint=find_checkpoint(checkpoint),
            topic=topic,
            label_topic=truth_topic,
        )
        return
    refuse_unused({name.replace('_', '-'): given[name] for name in given}, '--online')
    options = ReplayOptions(
        checkpoint=find_checkpoint(checkpoint),
        schedule=schedule,
        execution=execution,
        slices=slices,
        max_age=max_age,
        max_time_gap_s=max_time_gap,
        device=device,
        backend=backend,
        height=height,
        topic=topic,
        label_topic=truth_topic,
        fidelity=fidelity,
    )
    if len(bags) == 1 and jobs == 1 and ray is None:
        _replay_one(bags[0], folder, options, threads, json_file)
    else:
        workers: dict[str, Any] = {'jobs': jobs, 'threads': threads, 'ray_address': ray}
        _replay_many(bags, folder, options, workers, json_file)


def _replay_one(
    bag: Path, folder: Path, options: ReplayOptions, threads: int | None, json_file: Path | None
) -> None:
    from dcfm_ros.replay.offline import replay_bag

    if threads is not None:
        import torch

        torch.set_num_threads(threads)

    def run(part: Path) -> ReplayRun:
        return replay_bag(bag, part, options, lambda frames: with_progress(frames, 'replaying'))

    _report(run, folder, json_file)


def _replay_online(bags: list[Path], folder: Path, json_file: Path | None, **options: Any) -> None:
    from dcfm_ros.replay.online.replay import replay_online

    if len(bags) > 1:
        raise ValueError(f'--online takes one bag, got {len(bags)}')
    chosen = online_options(**options)
    _report(lambda part: replay_online(bags[0], part, chosen, typer.echo), folder, json_file)


def _report(run: Callable[[Path], ReplayRun], folder: Path, json_file: Path | None) -> None:
    from dcfm_ros.replay.report import report_folder, write_replay_report

    with report_folder(folder) as part:
        figures = write_replay_report(part, run(part))
    save_json(json_file, figures)
    shown = {name: figures[name] for name in _PRINTED}
    for kind in ('accuracy', 'fidelity'):
        shown |= {
            f'{kind}: {name}': value
            for name, value in (figures[kind] or {}).items()
            if name not in ('iou', 'by_age')
        }
    print_summary(shown | figures['resources'])
    for loss in figures['losses']:
        typer.echo(f'note: {loss}', err=True)
    typer.echo(f'report: {folder / "report.html"}, {folder / "report.json"}')


def _replay_many(
    bags: list[Path],
    folder: Path,
    options: ReplayOptions,
    workers: dict[str, Any],
    json_file: Path | None,
) -> None:
    from dcfm_ros.replay.fleet import replay_fleet

    figures = replay_fleet(bags, folder, options, **workers)
    save_json(json_file, figures)
    names = (
        'report', 'frames', 'keyframe_share', 'latency_ms_p50', 'latency_ms_p99',
        'latency_ms_max', 'miou', 'mvc8', 'streaming_miou', 'fidelity_miou', 'fidelity_pixels',
    )  # fmt: skip
    rows = [row for row in figures['rows'] if not row['error']]
    told = [name for name in names if any(row[name] is not None for row in rows)]
    print_rows([{name: row[name] for name in told} for row in rows])
    for row in rows:
        for loss in row['losses']:
            typer.echo(f'note: {row["bag"]}: {loss}', err=True)
    typer.echo(f'report: {folder / "fleet.html"}, {folder / "fleet.json"}')
    if failed := figures['failed']:
        lines = '\n  '.join(f'{entry["bag"]}: {entry["error"]}' for entry in failed)
        raise RuntimeError(f'{len(failed)} of {len(bags)} bags failed:\n  {lines}')


def _compare(first: Path, second: Path, folder: Path, force: bool, json_file: Path | None) -> None:
    from dcfm_ros.replay.compare import compare_reports

    comparison = compare_reports(first, second, folder, force=force)
    save_json(json_file, comparison)
    print_rows(comparison['settings'])
    print_rows(comparison['figures'])
    if comparison['same_masks'] is not None:
        typer.echo(f'masks: {"the same" if comparison["same_masks"] else "not the same"}')
    typer.echo(f'report: {folder / "comparison.html"}, {folder / "comparison.json"}')
