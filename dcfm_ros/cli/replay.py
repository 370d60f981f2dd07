"""The verb `dcfm replay`: recordings through the engine or the node, with a full report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from dcfm_ros.cli.data_options import WorkerOptions
from dcfm_ros.cli.options import (
    Checkpoint,
    Groups,
    Json,
    OptionalBool,
    OptionalPath,
    OptionalTexts,
    print_rows,
    print_summary,
    refuse_given,
    save_json,
    takes_options,
    with_progress,
)
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.options import RecordingOptions

if TYPE_CHECKING:
    from dcfm_ros.replay.offline import OfflineOptions
    from dcfm_ros.replay.recording import Recording
    from dcfm_ros.replay.run import ReplayRun

OptionalPair = Optional[tuple[Path, Path]]  # noqa: UP045 - as in cli.options

_PRINTED = (
    'frames_sent', 'masks_received', 'latency_ms', 'latency_ms_key', 'latency_ms_nonkey',
    'jitter_ms', 'keyframe_share', 'keyframe_reasons', 'keyframe_age', 'temporal', 'losses',
)  # fmt: skip
"""Statistics that are printed; report.json has them all."""
_PRINTED_OF_FLEET = (
    'report', 'frames', 'keyframe_share', 'latency_ms_p50', 'latency_ms_p99', 'latency_ms_max',
    'miou', 'group_miou', 'mvc8', 'streaming_miou', 'fidelity_miou', 'fidelity_pixels',
)  # fmt: skip


@takes_options()
def replay(
    context: typer.Context,
    sources: Annotated[
        OptionalTexts,
        typer.Argument(help='Bags (folder, .mcap, .db3, .bag), videos, image folders, a camera.'),
    ] = None,
    report: Annotated[
        OptionalPath, typer.Option(help='Folder for the report; default: out/replay.')
    ] = None,
    compare: Annotated[
        OptionalPair, typer.Option(help='Compare two reports instead of replaying.')
    ] = None,
    force: Annotated[
        bool, typer.Option('--force', help='Also compare reports of different recordings.')
    ] = False,
    checkpoint: Checkpoint = None,
    fidelity: Annotated[
        OptionalBool,
        typer.Option(
            '--fidelity/--no-fidelity',
            help='Run every frame by itself too, and compare; default: if there are no labels.',
        ),
    ] = None,
    online: Annotated[
        bool, typer.Option('--online', help='Play the recording to the node, over DDS.')
    ] = False,
    groups: Groups = None,
    json_file: Json = None,
    *,
    recorded: RecordingOptions,
    engine: EngineOptions,
    schedule: ScheduleOptions,
    workers: WorkerOptions,
    playing: OnlineOptions,
) -> None:
    """Replay recordings through the engine, without ROS: every frame, the same masks every time.

    One gets report.html, report.json, frames.csv and overlay.mp4; several get a folder each, and
    fleet.html and fleet.json over all of them. With --online, one is played to the node.
    """
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.replay.offline import OfflineOptions
    from dcfm_ros.replay.recording import open_recording

    if compare is not None:
        if sources:
            raise ValueError(f'--compare takes two reports and no recordings, got {sources}')
        _compare(*compare, report or Path('out/replay_comparison'), force, json_file)
        return
    refuse_given(context, ['force'], 'needs --compare')
    if not sources:
        raise ValueError('give at least one recording, or --compare and two reports')
    folder, weights = report or Path('out/replay'), find_checkpoint(checkpoint).resolve()
    opened = partial(open_recording, options=recorded)
    if online:
        if len(sources) > 1:
            raise ValueError(f'--online takes one recording, got {len(sources)}')
        refuse_given(context, ['fidelity', 'jobs', 'ray'], 'does not go with --online')
        parameters = {**asdict(engine), **asdict(schedule)}
        if playing.namespace:
            names = [*parameters, 'checkpoint', 'threads']
            refuse_given(context, names, 'is set in that node already')
        parameters |= {'checkpoint': str(weights), 'cpu_threads': workers.threads}
        log = folder / 'node.log'  # not among what is kept of a success only
        one = partial(_online, opened(sources[0]), parameters, playing, groups, log)
        _report(one, folder, json_file)
        return
    refuse_given(context, [field.name for field in fields(OnlineOptions)], 'needs --online')
    how = OfflineOptions(
        checkpoint=weights, engine=engine, schedule=schedule, fidelity=fidelity, groups=groups
    )
    if len(sources) == 1 and workers.jobs == 1 and not workers.ray:
        one = partial(_offline, opened(sources[0]), how, workers.threads)
        _report(one, folder, json_file)
    else:
        _replay_many(sources, folder, opened, how, workers, json_file)


def _online(
    recording: Recording,
    parameters: Any,
    playing: OnlineOptions,
    groups: Path | None,
    log: Path,
    part: Path,
) -> ReplayRun:
    from dcfm_ros.replay.online.replay import replay_online

    return replay_online(
        recording, part, parameters, playing, log=log, groups=groups, say=typer.echo
    )


def _offline(recording: Recording, options: OfflineOptions, threads: int, part: Path) -> ReplayRun:
    from dcfm_ros.replay.offline import replay_offline
    from dcfm_ros.threads import set_num_threads

    if threads:
        set_num_threads(threads)
    return replay_offline(
        recording,
        part / 'overlay.mp4',
        options,
        lambda frames: with_progress(frames, 'replaying', recording.num_frames),
    )


def _report(run: Callable[[Path], ReplayRun], folder: Path, json_file: Path | None) -> None:
    """Replay into the folder of a report."""
    from dcfm_ros.files import into_folder
    from dcfm_ros.replay.report import write_report

    with into_folder(folder) as part:
        report = write_report(part, run(part))
    save_json(json_file, report)
    shown = {name: report[name] for name in _PRINTED}
    for kind in ('accuracy', 'fidelity'):
        for name, value in (report[kind] or {}).items():
            if name not in ('iou', 'group_iou', 'by_age'):
                shown[f'{kind}: {name}'] = value
    print_summary(shown | report['resources'], report['losses'])
    typer.echo(f'report: {folder / "report.html"}, {folder / "report.json"}')


def _replay_many(
    sources: list[str],
    folder: Path,
    opened: Callable[[str], Recording],
    options: OfflineOptions,
    workers: WorkerOptions,
    json_file: Path | None,
) -> None:
    from dcfm_ros.replay.fleet import replay_fleet

    found = replay_fleet(sources, folder, opened, options, **workers.values(threads=None))
    save_json(json_file, found)
    rows = [row for row in found['rows'] if not row['error']]
    known = [n for n in _PRINTED_OF_FLEET if any(row[n] is not None for row in rows)]
    print_rows([{name: row[name] for name in known} for row in rows])
    for row in rows:
        for loss in row['losses']:
            typer.echo(f'note: {row["bag"]}: {loss}', err=True)
    typer.echo(f'report: {folder / "fleet.html"}, {folder / "fleet.json"}')
    if failed := found['failed']:
        lines = '\n  '.join(f'{entry["bag"]}: {entry["error"]}' for entry in failed)
        raise RuntimeError(f'{len(failed)} of {len(sources)} recordings failed:\n  {lines}')


def _compare(first: Path, second: Path, folder: Path, force: bool, json_file: Path | None) -> None:
    from dcfm_ros.replay.compare import compare_reports

    comparison = compare_reports(first, second, folder, force=force)
    save_json(json_file, comparison)
    print_rows(comparison['settings'])
    print_rows(comparison['figures'])
    if comparison['same_masks'] is not None:
        typer.echo(f'masks: {"the same" if comparison["same_masks"] else "not the same"}')
    typer.echo(f'report: {folder / "comparison.html"}, {folder / "comparison.json"}')
