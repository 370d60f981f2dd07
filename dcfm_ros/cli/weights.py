"""The verbs of `dcfm` that write checkpoints without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import (
    OptionalInt,
    OptionalPath,
    OptionalText,
    parse_numbers,
    print_rows,
    refuse_unused,
    takes_options,
    with_progress,
)
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.replay.options import RecordingOptions


def convert(
    source: Annotated[
        OptionalPath,
        typer.Argument(
            help='With --from: folder of save_pretrained, or state dict of torchvision.'
        ),
    ] = None,
    library: Annotated[
        OptionalText,
        typer.Option('--from', metavar='segformer|smp|torchvision', help='Its library.'),
    ] = None,
    architecture: Annotated[
        OptionalText, typer.Option(help='With torchvision: for example lraspp_mobilenet_v3_large.')
    ] = None,
    labels: Annotated[
        OptionalText, typer.Option(help='Classes: classes.yaml, or camvid, cityscapes, ...')
    ] = None,
    cut: Annotated[
        OptionalInt,
        typer.Option(
            min=1, max=4, help='Stages that run on every frame; default: up to stride 4.'
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help='.safetensors to write.')] = ...,  # type: ignore[assignment]
    mean: Annotated[
        OptionalText,
        typer.Option(help="R,G,B in [0, 1] that training subtracted; default: the source's."),
    ] = None,
    std: Annotated[OptionalText, typer.Option(help='What it then divided by.')] = None,
    encoder: Annotated[
        OptionalPath, typer.Option(help='encoder_epoch_<n>.pth of the paper.')
    ] = None,
    decoder: Annotated[
        OptionalPath, typer.Option(help='decoder_epoch_<n>.pth of the paper.')
    ] = None,
    preset: Annotated[OptionalText, typer.Option(help='For example vspw_mit_b2.')] = None,
) -> None:
    """Convert a network of another library, or the paper's weights, to a checkpoint.

    Either a path with --from, or all of --encoder, --decoder and --preset.
    """
    papers: dict[str, object] = {'encoder': encoder, 'decoder': decoder, 'preset': preset}
    if source is None and library is None:
        own = {
            'architecture': architecture,
            'labels': labels,
            'cut': cut,
            'mean': mean,
            'std': std,
        }
        refuse_unused(dict(own), '--from')
        if encoder is None or decoder is None or preset is None:
            missing = ', '.join(f'--{name}' for name, value in papers.items() if value is None)
            raise ValueError(f'give a path and --from, or the weights of the paper with {missing}')
        _convert_papers(encoder, decoder, preset, output)
        return
    if source is None or library is None:
        needed = 'a path' if source is None else '--from segformer, smp or torchvision'
        raise ValueError(f'{needed} is missing')
    refuse_unused(papers, 'a call without --from')
    inside = source.resolve()
    if inside in (output.resolve(), output.resolve().parent):
        raise ValueError(f'`output` must not be a file of the source {source}, got {output}')
    from dcfm_ros.deploy.convert import convert_network
    from dcfm_ros.models.checkpoint import save_checkpoint

    done = convert_network(
        library,
        source,
        architecture=architecture,
        labels=labels,
        cut=cut,
        image_mean=tuple(parse_numbers('mean', mean or '', float)),
        image_std=tuple(parse_numbers('std', std or '', float)),
    )
    save_checkpoint(output, done.net, done.training)
    for note in done.notes:
        typer.echo(f'note: {note}')
    count, config = len(done.net.state_dict()), done.net.config
    typer.echo(f'{library}: {count} tensors, {config.num_classes} classes in {output}')


def _convert_papers(encoder: Path, decoder: Path, preset: str, output: Path) -> None:
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
