"""The command line `dcfm`. A verb imports what it needs when it runs: --help is quick."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcfm_ros.cli import (
    bench,
    evaluate,
    export,
    figures,
    pseudo_label,
    recordings,
    replay,
    train,
    weights,
)
from dcfm_ros.cli.options import (
    Adaptive,
    Backend,
    Checkpoint,
    ConfidenceDrop,
    Device,
    Execution,
    FixedInterval,
    Height,
    Interval,
    Json,
    Labels,
    LabelTopic,
    MaxAge,
    MaxInterval,
    OptionalPath,
    Rate,
    Score,
    Slices,
    Topic,
    deliver,
    refuse_unused,
    with_progress,
)

if TYPE_CHECKING:
    from dcfm_ros.recordings.sources import SourceFrame

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help='Video semantic segmentation with Deep Common Feature Mining.',
)


@app.command()
def segment(
    source: Annotated[
        str, typer.Argument(help='Video, image folder, bag, .mcap or camera number.')
    ],
    output: Annotated[Path, typer.Option(help='Overlay video.')] = Path('out/segment/overlay.mp4'),
    checkpoint: Checkpoint = None,
    interval: FixedInterval = None,
    adaptive: Adaptive = None,
    max_interval: MaxInterval = None,
    score: Score = None,
    confidence_drop: ConfidenceDrop = None,
    execution: Execution = 'sync',
    slices: Slices = None,
    max_age: MaxAge = None,
    device: Device = 'auto',
    backend: Backend = 'auto',
    height: Height = 0,
    masks: Annotated[OptionalPath, typer.Option(help='Folder for one PNG mask per frame.')] = None,
    topic: Topic = None,
    label_topic: LabelTopic = None,
    labels: Labels = None,
    rate: Rate = 15.0,
    json_file: Json = None,
) -> None:
    """Segment a recording or a camera without ROS: overlay video, report and figures."""
    from dcfm_ros.engine import SegmentationEngine
    from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint, read_metadata
    from dcfm_ros.recordings.sources import open_source
    from dcfm_ros.replay.segment import choose_schedule, segment_frames

    schedule = choose_schedule(interval, adaptive, max_interval, score, confidence_drop)
    if execution != 'amortised':
        refuse_unused({'slices': slices}, '--execution amortised')
    path = find_checkpoint(checkpoint)
    engine = SegmentationEngine(
        load_checkpoint(path),
        device=device,
        backend=backend,
        schedule=schedule,
        inference_height=height or read_metadata(path).image_height,
        execution=execution,
        slices=slices,
        max_age=max_age,
    )
    options: dict[str, Any] = {'topic': topic, 'label_topic': label_topic, 'labels': labels}
    frames = with_progress(open_source(source, rate_hz=rate, **options), 'segmenting')
    summary, recorder = segment_frames(frames, engine, video=output, rate_hz=rate, masks=masks)
    summary.update(source=source, checkpoint=str(path), slices=slices, max_age=max_age)
    deliver('dcfm segment', summary, recorder, output.parent, output.name, json_file)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help='Folder for the results.')] = Path('out/demo'),
    video: Annotated[OptionalPath, typer.Option(help='Send this video.')] = None,
    bag: Annotated[OptionalPath, typer.Option(help='Send this rosbag.')] = None,
    images: Annotated[OptionalPath, typer.Option(help='Send this image folder.')] = None,
    labels: Labels = None,
    topic: Topic = None,
    label_topic: LabelTopic = None,
    checkpoint: Checkpoint = None,
    interval: Interval = 3,
    execution: Execution = 'sync',
    slices: Slices = None,
    device: Device = 'auto',
    backend: Backend = 'auto',
    rate: Rate = 15.0,
    frames: Annotated[int, typer.Option(min=1, help='Length of the synthetic drive.')] = 150,
    seed: Annotated[int, typer.Option(min=0, help='Which synthetic drive.')] = 7,
    json_file: Json = None,
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
    if execution != 'amortised':
        refuse_unused({'slices': slices}, '--execution amortised')
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
        parameters={
            'keyframe_interval': interval,
            'execution': execution,
            'execution_slices': slices or 0,
            'device': device,
            'backend': backend,
        },
        say=typer.echo,
    )
    deliver('dcfm_ros demo', summary, recorder, output, 'overlay.mp4', json_file)
    if summary['masks_received'] == 0:
        raise RuntimeError(f'no mask came back; see {output / "node.log"}')


app.command()(recordings.synth)
app.command()(recordings.bag)
app.command()(recordings.extract)
app.command()(bench.bench)
app.command()(evaluate.evaluate)
app.command()(replay.replay)
app.command()(pseudo_label.pseudo_label)
app.command()(train.ablate)
app.command()(figures.figures)
app.command()(weights.convert)
app.command()(weights.pack)
app.command()(export.export)
app.command(context_settings={'allow_extra_args': True, 'ignore_unknown_options': True})(
    train.train
)


def main() -> None:
    """Run the command line; errors that a user can mend are one line, without a traceback."""
    # Read when torch is loaded: waiting threads sleep instead of spinning, see node.main.
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    try:
        app()
    except (ValueError, OSError, RuntimeError, TimeoutError, ImportError) as error:
        # CheckpointError and SourceError are RuntimeErrors; what torch raises at run time is too.
        typer.echo(f'dcfm: {error}', err=True)
        sys.exit(1)


if __name__ == '__main__':
    main()
