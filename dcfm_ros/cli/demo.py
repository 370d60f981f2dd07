"""The verb `dcfm demo`: a drive through the real node, over DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcfm_ros.cli.options import (
    Checkpoint,
    Json,
    Labels,
    LabelTopic,
    OptionalPath,
    Rate,
    Topic,
    deliver,
    takes_options,
    with_progress,
)
from dcfm_ros.keyframes.options import EngineOptions, ScheduleOptions

if TYPE_CHECKING:
    from dcfm_ros.recordings.sources import SourceFrame


@takes_options()
def demo(
    output: Annotated[Path, typer.Option(help='Folder for the results.')] = Path('out/demo'),
    video: Annotated[OptionalPath, typer.Option(help='Send this video.')] = None,
    bag: Annotated[OptionalPath, typer.Option(help='Send this rosbag.')] = None,
    images: Annotated[OptionalPath, typer.Option(help='Send this image folder.')] = None,
    labels: Labels = None,
    topic: Topic = None,
    label_topic: LabelTopic = None,
    checkpoint: Checkpoint = None,
    rate: Rate = 15.0,
    frames: Annotated[int, typer.Option(min=1, help='Length of the synthetic drive.')] = 150,
    seed: Annotated[int, typer.Option(min=0, help='Which synthetic drive.')] = 7,
    json_file: Json = None,
    *,
    engine: EngineOptions,
    schedule: ScheduleOptions,
) -> None:
    """Start the real node, send it a clip over DDS, and show what came back.

    Without an input, a synthetic drive is rendered and sent.
    """
    from dcfm_ros.models.checkpoint import find_checkpoint, read_metadata
    from dcfm_ros.recordings.sources import open_source, synthetic_frames
    from dcfm_ros.replay.demo import run_demo
    from dcfm_ros.synthetic.drive import DriveConfig

    given = [str(path) for path in (video, bag, images) if path is not None]
    if len(given) > 1:
        raise ValueError(f'name one of --video, --bag and --images, got {given}')
    path = find_checkpoint(checkpoint)
    metadata = read_metadata(path)
    opened: Callable[[], Iterable[SourceFrame]]
    if given:
        options: dict[str, Any] = {'topic': topic, 'label_topic': label_topic, 'labels': labels}

        def opened() -> Iterable[SourceFrame]:
            return open_source(given[0], rate_hz=rate, **options)

        next(iter(opened()))  # a bad input should be told before the node is started
    else:
        drive = DriveConfig(seed=seed, num_frames=frames, rate_hz=rate)
        # Rendered first: rendering while sending would take the node's processor time.
        rendered = list(with_progress(synthetic_frames(drive), 'rendering', frames))

        def opened() -> Iterable[SourceFrame]:
            return rendered

    summary, recorder = run_demo(
        opened,
        source=given[0] if given else f'synthetic drive, seed {seed}',
        checkpoint=path,
        metadata=metadata,
        output=output,
        rate_hz=rate,
        parameters=asdict(engine) | asdict(schedule),
        say=typer.echo,
    )
    deliver('dcfm_ros demo', summary, recorder, output, 'overlay.mp4', json_file)
    if summary['masks_received'] == 0:
        raise RuntimeError(f'no mask came back; see {output / "node.log"}')
