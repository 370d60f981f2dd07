"""The verb `dcfm replay`: recordings through the engine or the node, with a full report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from dcfm_ros.cli.options import (
    Checkpoint,
    Json,
    OptionalBool,
    OptionalPath,
    print_rows,
    print_summary,
    refuse_given,
    save_json,
    takes_options,
    with_progress,
)
from dcfm_ros.keyframes.options import EngineOptions, ScheduleOptions
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.options import FleetOptions, RecordingOptions

if TYPE_CHECKING:
    from dcfm_ros.replay.run import ReplayRun

Run = Callable[[Path], 'ReplayRun']
"""Replays into the folder of a report."""
# typer wants Optional on Python 3.10.
OptionalTexts = Optional[list[str]]  # noqa: UP045
OptionalPair = Optional[tuple[Path, Path]]  # noqa: UP045

_PRINTED = (
    'frames_sent', 'masks_received', 'latency_ms', 'latency_ms_key', 'latency_ms_nonkey',
    'jitter_ms', 'keyframe_share', 'keyframe_reasons', 'keyframe_age', 'temporal', 'losses',
)  # fmt: skip
"""Statistics that are printed; report.json has them all."""
_PRINTED_OF_FLEET = (
    'report', 'frames', 'keyframe_share', 'latency_ms_p50', 'latency_ms_p99',
    'latency_ms_max', 'miou', 'mvc8', 'streaming_miou', 'fidelity_miou', 'fidelity_pixels',
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
    json_file: Json = None,
    *,
    recorded: RecordingOptions,
    engine: EngineOptions,
    schedule: ScheduleOptions,
    fleet: FleetOptions,
    playing: OnlineOptions,
) -> None:
    """Replay recordings through the engine, without ROS: every frame, the same masks every time.

    One gets report.html, report.json, frames.csv and overlay.mp4; several get a folder each, and
    fleet.html and fleet.json over all of them. With --online, one is played to the node.
    """
    from dcfm_ros.models.checkpoint import find_checkpoint
    from dcfm_ros.replay.offline import OfflineOptions

    if compare is not None:
        if sources:
            raise ValueError(f'--compare takes two reports and no recordings, got {sources}')
        _compare(*compare, report or Path('out/replay_comparison'), force, json_file)
        return
    refuse_given(context, ['force'], 'needs --compare')
    if not sources:
        raise ValueError('give at least one recording, or --compare and two reports')
    folder = report or Path('out/replay')
    if online:
        if len(sources) > 1:
            raise ValueError(f'--online takes one recording, got {len(sources)}')
        refuse_given(context, ['fidelity', 'jobs', 'ray'], 'does not go with --online')
        parameters = {**asdict(engine), **asdict(schedule)}
        if playing.namespace:
            names = [*parameters, 'checkpoint', 'threads']
            refuse_given(context, names, 'is set in that node already')
        weights = str(find_checkpoint(checkpoint).resolve())
        parameters |= {'checkpoint': weights, 'cpu_threads': fleet.threads}
        _report(_online(sources[0], recorded, parameters, playing), folder, json_file)
        return
    refuse_given(context, [field.name for field in fields(OnlineOptions)], 'needs --online')
    how = OfflineOptions(
        checkpoint=find_checkpoint(checkpoint),
        engine=engine,
        schedule=schedule,
        fidelity=fidelity,
    )
    if len(sources) == 1 and fleet.jobs == 1 and not fleet.ray:
        _report(_offline(sources[0], recorded, how, fleet.threads), folder, json_file)
    else:
        _replay_many(sources, recorded, folder, how, fleet, json_file)


def _offline(source: str, recorded: RecordingOptions, options: Any, threads: int) -> Run:
    import torch

    from dcfm_ros.replay.offline import replay_offline
    from dcfm_ros.replay.recording import open_recording

    if threads:
        torch.set_num_threads(threads)
    recording = open_recording(source, recorded)

    def progress(frames: Any) -> Any:
        return with_progress(frames, 'replaying', recording.num_frames)

    return lambda part: replay_offline(recording, part / 'overlay.mp4', options, progress)


def _online(
    source: str, recorded: RecordingOptions, parameters: Any, playing: OnlineOptions
) -> Run:
    from dcfm_ros.replay.online.replay import replay_online
    from dcfm_ros.replay.recording import open_recording

    recording = open_recording(source, recorded)
    return lambda part: replay_online(recording, part, parameters, playing, say=typer.echo)


def _report(run: Run, folder: Path, json_file: Path | None) -> None:
    from dcfm_ros.replay.report import report_folder, write_report

    with report_folder(folder) as part:
        report = write_report(part, run(part))
    save_json(json_file, report)
    shown = {name: report[name] for name in _PRINTED}
    for kind in ('accuracy', 'fidelity'):
        for name, value in (report[kind] or {}).items():
            if name not in ('iou', 'by_age'):
                shown[f'{kind}: {name}'] = value
    print_summary(shown | report['resources'])
    for loss in report['losses']:
        typer.echo(f'note: {loss}', err=True)
    typer.echo(f'report: {folder / "report.html"}, {folder / "report.json"}')


def _replay_many(
    sources: list[str],
    recorded: RecordingOptions,
    folder: Path,
    options: Any,
    fleet: FleetOptions,
    json_file: Path | None,
) -> None:
    from dcfm_ros.replay.fleet import replay_fleet
    from dcfm_ros.replay.recording import open_recording

    found = replay_fleet(
        sources,
        folder,
        partial(open_recording, options=recorded),
        options,
        jobs=fleet.jobs,
        threads=fleet.threads or None,
        ray_address=fleet.ray or None,
    )
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
