"""The verbs of `dcfm` that write checkpoints without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import (
    OptionalPath,
    OptionalText,
    print_rows,
    takes_options,
    with_progress,
)
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.replay.options import RecordingOptions


def convert(
    encoder: Annotated[Path, typer.Option(help='encoder_epoch_<n>.pth of the paper.')],
    decoder: Annotated[Path, typer.Option(help='decoder_epoch_<n>.pth of the paper.')],
    preset: Annotated[str, typer.Option(help='For example vspw_mit_b2.')],
    output: Annotated[Path, typer.Option(help='.safetensors to write.')],
) -> None:
    """Convert the paper's released weights to a checkpoint of this package."""
    from dcfm_ros.models.checkpoint import save_checkpoint
    from dcfm_ros.models.official import load_official

    net = load_official(encoder, decoder, preset)
    save_checkpoint(output, net, {'source': f'converted from {encoder.name}, {decoder.name}'})
    typer.echo(f'{preset}: {len(net.state_dict())} tensors in {output}')


def prepare(
    checkpoint: Annotated[
        Path, typer.Argument(help='Weights: a .safetensors file, or the name of packaged ones.')
    ],
    output: Annotated[
        OptionalPath,
        typer.Option(help='.graphs to write; default: beside the weights, where it is found.'),
    ] = None,
) -> None:
    """Write the graphs of a checkpoint, with which a machine without PyTorch can run it.

    They fit all weights of the same architecture. Where PyTorch is installed, the first start
    makes them by itself.
    """
    from dcfm_ros.backends.graphs import SUFFIX
    from dcfm_ros.deploy.prepare import prepare_checkpoint
    from dcfm_ros.models.checkpoint_header import find_checkpoint

    path = find_checkpoint(checkpoint)
    target = output or path.with_suffix(SUFFIX)
    agreement = prepare_checkpoint(path, target)
    size_kb = target.stat().st_size / 1e3
    typer.echo(f'{target}: {size_kb:.0f} kB; equal pixels: {agreement:.4%}')


@takes_options('topic', 'rate_hz')
def quantise(
    checkpoint: Annotated[
        Path, typer.Argument(help='Weights: a .safetensors file, or the name of packaged ones.')
    ],
    calibrate: Annotated[
        str, typer.Option(help='Frames like those on the robot, as of dcfm segment; some hundred.')
    ],
    output: Annotated[
        OptionalPath,
        typer.Option(help='.int8.graphs to write; default: beside the weights, to be found.'),
    ] = None,
    *,
    recorded: RecordingOptions,
) -> None:
    """Write the encoders of a checkpoint in int8, for CPUs with VNNI, AMX or dot products.

    Half of the frames set the scales; the masks of the others and of a synthetic drive are
    compared with those in fp32. Below 95 % equal pixels nothing is written; from 98.5 % on
    --precision auto takes it.
    """
    from dcfm_ros.backends.graphs import INT8_SUFFIX
    from dcfm_ros.deploy.quantise import quantise_checkpoint
    from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
    from dcfm_ros.recordings.sources import open_source

    path = find_checkpoint(checkpoint)
    target = output or path.with_suffix(INT8_SUFFIX)
    frames = with_progress(open_source(calibrate, **recorded.arguments()), 'reading')
    done = quantise_checkpoint(path, target, frames, calibrate)
    names = read_metadata(path).config.class_names
    rows = [{'': 'equal pixels', **{c.source: f'{c.agreement:.3%}' for c in done.comparisons}}]
    for number, name in enumerate(names):
        ious = {c.source: c.class_iou[number] for c in done.comparisons}
        rows.append({'': name, **{k: '-' if v is None else f'{v:.3f}' for k, v in ious.items()}})
    print_rows(rows)
    taken = 'takes' if done.is_for_auto else 'does not take'
    typer.echo(
        f'{target}: {target.stat().st_size / 1e6:.2f} MB, calibrated on {done.num_calibrated} '
        f'frames; --precision auto {taken} it'
    )


@takes_options('device', 'topic', 'rate_hz')
def pack(
    checkpoint: Annotated[
        Path, typer.Argument(help='Weights: a .safetensors file, or the name of packaged ones.')
    ],
    output: Annotated[Path, typer.Option(help='.safetensors to write.')],
    frames: Annotated[
        OptionalText,
        typer.Option(help='Input to compare on, as of dcfm segment; default: a synthetic drive.'),
    ] = None,
    *,
    recorded: RecordingOptions,
    engine: EngineOptions,
) -> None:
    """Store a checkpoint as float16, if 99.9 % of the pixels keep their class.

    Both are computed in float32 in PyTorch. Else nothing is written. Tensors that float16 cannot
    hold, such as statistics of a batch norm, stay float32.
    """
    from dcfm_ros.deploy.pack import pack_checkpoint
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.recordings.sources import open_source, synthetic_frames
    from dcfm_ros.synthetic.drive import DriveConfig

    path = find_checkpoint(checkpoint)
    size = path.stat().st_size
    if frames is None:
        drive = DriveConfig(seed=7, num_frames=24)
        source = f'synthetic drive, seed {drive.seed}'
        stream, count = synthetic_frames(drive), drive.num_frames
    else:
        stream, count = open_source(frames, **recorded.arguments()), None
        source = frames
    shown = with_progress(stream, 'comparing', count)
    record = pack_checkpoint(path, output, shown, source, engine.device)
    for key, reason in record['float32'].items():
        typer.echo(f'stays float32: {key} has {reason}')
    typer.echo(
        f'{output}: {output.stat().st_size / 1e6:.2f} MB, was {size / 1e6:.2f} MB; equal pixels: '
        f'{record["agreement"]:.4%} of {record["frames"]} frames ({source})'
    )
