"""The verb `dcfm segment`: a replay of any source, for its overlay video and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


@takes_options()
def segment(
    source: Annotated[
        str, typer.Argument(help='Video, image folder, bag, .mcap or camera number.')
    ],
    output: Annotated[Path, typer.Option(help='Overlay video.')] = Path('out/segment/overlay.mp4'),
    masks: Annotated[OptionalPath, typer.Option(help='Folder for one PNG mask per frame.')] = None,
    checkpoint: Checkpoint = None,
    topic: Topic = None,
    label_topic: LabelTopic = None,
    labels: Labels = None,
    rate: Rate = 15.0,
    json_file: Json = None,
    *,
    engine: EngineOptions,
    schedule: ScheduleOptions,
) -> None:
    """Segment a recording or a camera without ROS: overlay video, report and figures."""
    from dataclasses import replace

    from dcfm_ros.engine import SegmentationEngine
    from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint, read_metadata
    from dcfm_ros.recordings.sources import open_source
    from dcfm_ros.replay.segment import segment_frames

    path = find_checkpoint(checkpoint)
    height = engine.inference_height or read_metadata(path).image_height
    made = SegmentationEngine(
        load_checkpoint(path), replace(engine, inference_height=height), schedule
    )
    opened = open_source(source, topic=topic, label_topic=label_topic, labels=labels, rate_hz=rate)
    frames = with_progress(opened, 'segmenting')
    summary, recorder = segment_frames(frames, made, video=output, rate_hz=rate, masks=masks)
    summary.update(source=source, checkpoint=str(path))
    deliver('dcfm segment', summary, recorder, output.parent, output.name, json_file)
