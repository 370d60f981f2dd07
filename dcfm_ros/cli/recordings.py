"""The verbs of `dcfm` that make recordings: a synthetic drive, a bag, a folder of footage."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import OptionalText, parse_size, takes_options, with_progress
from dcfm_ros.replay.options import RecordingOptions


def synth(
    output: Annotated[Path, typer.Option(help='Folder to create.')],
    frames: Annotated[int, typer.Option(min=1, help='Length.')] = 150,
    seed: Annotated[int, typer.Option(min=0, help='Which drive.')] = 0,
    size: Annotated[str, typer.Option(help='Height x width.')] = '360x480',
    rate: Annotated[float, typer.Option(min=0.1, help='Frames per second.')] = 15.0,
    speed: Annotated[float, typer.Option(min=0.0, help='Metres per second.')] = 8.0,
) -> None:
    """Render a labelled synthetic drive: frames and exact masks in CamVid's 11 classes."""
    from dcfm_ros.synthetic.drive import DriveConfig, write_drive

    height, width = parse_size(size)
    drive = DriveConfig(
        seed=seed, num_frames=frames, height=height, width=width, rate_hz=rate, speed_mps=speed
    )
    write_drive(drive, output, lambda pairs: with_progress(pairs, 'rendering', frames))
    typer.echo(f'{frames} frames and masks in {output}')


@takes_options('labels', 'rate_hz')
def bag(
    source: Annotated[str, typer.Argument(help='Image folder, or video.')],
    output: Annotated[Path, typer.Option(help='Rosbag folder to create.')],
    topic: Annotated[str, typer.Option(help='Image topic.')] = '/camera/image_raw',
    label_topic: Annotated[str, typer.Option(help='Mask topic.')] = '/camera/label',
    *,
    recorded: RecordingOptions,
) -> None:
    """Record an image folder (with masks, if there are any) or a video as a rosbag."""
    from dcfm_ros.recordings.bag_writer import write_bag
    from dcfm_ros.recordings.sources import open_source

    frames = with_progress(open_source(source, **recorded.arguments()), 'recording')
    count = write_bag(output, frames, topic=topic, label_topic=label_topic)
    typer.echo(f'{count} images in {output}')


@takes_options(*(field.name for field in fields(RecordingOptions)))
def extract(
    source: Annotated[str, typer.Argument(help='Bag, .mcap, video or image folder.')],
    output: Annotated[Path, typer.Option(help='Folder of the dataset to add a clip to.')],
    split: Annotated[str, typer.Option(help="Its split; 'all' for none.")] = 'train',
    name: Annotated[
        OptionalText, typer.Option(help='Of the clip; default: that of the source.')
    ] = None,
    every: Annotated[int, typer.Option(min=1, help='Take every n-th frame only.')] = 1,
    jpeg: Annotated[bool, typer.Option('--jpeg', help='JPEG images instead of PNG.')] = False,
    classes: Annotated[
        OptionalText,
        typer.Option(help='Write classes.yaml: camvid, cityscapes, vspw or a file to copy.'),
    ] = None,
    *,
    recorded: RecordingOptions,
) -> None:
    """Write a recording as images and masks, to label and to train on (dataset 'folder')."""
    from dcfm_ros.files import write_text
    from dcfm_ros.recordings.extract import ExtractOptions, extract_frames
    from dcfm_ros.recordings.sources import open_source
    from dcfm_ros.training.footage.class_files import class_file_text, load_label_set

    if classes is not None:
        class_file, text = output / 'classes.yaml', class_file_text(load_label_set(classes))
        if class_file.exists() and class_file.read_text(encoding='utf-8') != text:
            raise ValueError(f'{class_file} exists and names other classes than {classes}')
        write_text(class_file, text)
    options = ExtractOptions(every=every, jpeg=jpeg)
    frames = open_source(source, **recorded.arguments())
    folder = (output if split == 'all' else output / split) / (name or Path(source).stem)
    shown = with_progress(frames, 'extracting')
    images, masks = extract_frames(shown, folder, options, {'recording': source})
    typer.echo(f'{images} images and {masks} masks in {folder}')
