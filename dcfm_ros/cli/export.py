"""`dcfm export`: the network for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcfm_ros.cli.options import Json, OptionalText, parse_size, save_json


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help='Weights: a .safetensors file, or the name of packaged ones.')
    ],
    output: Annotated[Path, typer.Option(help='Folder to write to.')],
    kind: Annotated[str, typer.Option('--format', help='onnx or openvino.')] = 'onnx',
    size: Annotated[
        OptionalText, typer.Option(help='Height x width; default: as trained, in 4:3.')
    ] = None,
    json_file: Json = None,
) -> None:
    """Write a keyframe and a non-key frame as models of one image size, if their masks agree.

    At least 99.5 % of the pixels of a synthetic drive must have the same class as in PyTorch;
    else nothing is written. Neither side moves the common feature with the scene: the models
    cannot, which costs accuracy between keyframes with weights that ask for it. model.json says
    how much on that drive, and how a caller can move the feature himself.
    """
    from dcfm_ros.deploy.export import export_checkpoint
    from dcfm_ros.models.checkpoint_header import find_checkpoint

    wanted = parse_size(size) if size else None
    facts = export_checkpoint(find_checkpoint(checkpoint), output, kind, wanted)
    height, width = facts['size']
    for name in (*facts['models'].values(), 'model.json'):
        typer.echo(f'wrote {output / name}')
    typer.echo(
        f'{height}x{width}; equal pixels: {facts["equal_pixels"]:.4%} of '
        f'{facts["frames_compared"]} frames, largest difference of a logit: '
        f'{facts["largest_logit_difference"]:.2g}'
    )
    if facts['engine_pixels'] is not None:
        typer.echo(
            'The models do not move the common feature with the scene; equal pixels with the '
            f'engine with motion compensation: {facts["engine_pixels"]:.2%} (model.json: note)'
        )
    save_json(json_file, facts)
