"""The verb `dcfm demo`: an online replay of a rendered drive, or of an own recording."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from dcfm_ros.replay.recording import Recording


@takes_options()
def demo(
    output: Annotated[Path, typer.Option(help='Folder for the results.')] = Path('out/demo'),
    video: Annotated[OptionalPath, typer.Option(help='Send this video.')] = None,
    bag: Annotated[OptionalPath, typer.Option(help='Send this bag.')] = None,
    images: Annotated[OptionalPath, typer.Option(help='Send this image folder.')] = None,
    checkpoint: Checkpoint = None,
    frames: Annotated[int, typer.Option(min=1, help='Length of the synthetic drive.')] = 150,
    seed: Annotated[int, typer.Option(min=0, help='Which synthetic drive.')] = 7,
    json_file: Json = None,
    *,
    recorded: RecordingOptions,
    engine: EngineOptions,
    schedule: ScheduleOptions,
) -> None:
    """Start the node, send it a clip over DDS, and show what comes back.

    Without --video, --bag or --images, a synthetic drive is rendered and sent.
    """
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.replay.online.options import OnlineOptions
    from dcfm_ros.replay.online.replay import replay_online
    from dcfm_ros.replay.recording import open_recording
    from dcfm_ros.replay.report import write_summary

    given = [str(path) for path in (video, bag, images) if path is not None]
    if len(given) > 1:
        raise ValueError(f'give one of --video, --bag and --images, got {given}')
    rate_hz = recorded.rate_hz
    weights = find_checkpoint(checkpoint).resolve()
    recording = open_recording(given[0], recorded) if given else _drive(seed, frames, rate_hz)
    parameters = {'checkpoint': str(weights), **asdict(engine), **asdict(schedule)}
    output.mkdir(parents=True, exist_ok=True)
    how = OnlineOptions()
    log = output / 'node.log'
    run = replay_online(
        recording, output, parameters, how, log=log, rate_hz=rate_hz, say=typer.echo
    )
    summary = write_summary(output, run)
    save_json(json_file, summary)
    print_summary(summary, run.losses)
    if not summary['masks_received']:
        raise RuntimeError(f'no mask came back; see {log}')
    typer.echo(f'results: overlay.mp4, report.html and summary.json in {output}')


def _drive(seed: int, frames: int, rate_hz: float) -> Recording:
    """A synthetic drive, rendered first: the node needs the CPU later."""
    from dcfm_ros.recordings.sources import synthetic_frames
    from dcfm_ros.replay.recording import Recording
    from dcfm_ros.synthetic.drive import DriveConfig

    drive = DriveConfig(seed=seed, num_frames=frames, rate_hz=rate_hz)
    rendered = list(with_progress(synthetic_frames(drive), 'rendering', frames))
    name = f'synthetic drive, seed {seed}'
    return Recording(name=name, source=name, frames=lambda: iter(rendered))
