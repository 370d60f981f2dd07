"""The verb `dcfm segment`: an offline replay of any source, for its overlay video and masks."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import (
    Checkpoint,
    Json,
    OptionalPath,
    print_summary,
    save_json,
    takes_options,
    with_progress,
)
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.replay.options import RecordingOptions


@takes_options()
def segment(
    source: Annotated[
        str, typer.Argument(help='Video, image folder, bag, .mcap or camera number.')
    ],
    output: Annotated[Path, typer.Option(help='Overlay video.')] = Path('out/segment/overlay.mp4'),
    masks: Annotated[
        OptionalPath,
        typer.Option(help='Folder for one PNG mask per frame; those of a longer run are removed.'),
    ] = None,
    checkpoint: Checkpoint = None,
    json_file: Json = None,
    *,
    recorded: RecordingOptions,
    engine: EngineOptions,
    schedule: ScheduleOptions,
) -> None:
    """Segment a recording or a camera without ROS: overlay video, masks and a page."""
    from dcfm_ros.files import into_folder
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.replay.offline import OfflineOptions, remove_masks_from, replay_offline
    from dcfm_ros.replay.recording import open_recording
    from dcfm_ros.replay.report import write_summary

    recording = open_recording(source, recorded)
    options = OfflineOptions(
        checkpoint=find_checkpoint(checkpoint),
        engine=engine,
        schedule=schedule,
        fidelity=False,
        streaming=False,
    )
    with ExitStack() as parts:  # nothing appears if any of it cannot be written
        if masks is not None:
            options = replace(options, masks=parts.enter_context(into_folder(masks)))
        part = parts.enter_context(into_folder(output.parent))
        run = replay_offline(
            recording,
            part / output.name,
            options,
            lambda frames: with_progress(frames, 'segmenting', recording.num_frames),
        )
        summary = write_summary(part, run)
    if masks is not None and (removed := remove_masks_from(masks, len(run.frames))):
        typer.echo(f'{removed} masks of a former run removed from {masks}')
    save_json(json_file, summary)
    print_summary(summary, run.losses)
    typer.echo(f'results: {output}, and report.html and summary.json beside it')
