"""Conversion of the paper's released weights: two state dicts in, one `DCFM` out.

The released files hold one `state_dict` each (encoder, decoder), saved from a wrapped module, so
that every key starts with 'module.'. Keys that exist only in the files and have no effect on the
network (`conv_seg` of the MiT encoder) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
import re

import torch
from torch import Tensor

from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import DCFMConfig
from dcfm_ros.models.dcfm import DCFM

_WITHOUT_DROPOUT = {'final.1.weight': 'final.0.weight', 'final.4.weight': 'final.3.weight'}
"""Keys of a decoder that was saved without its dropout layer."""
_UNUSED = re.compile(r'backbone\.decoder\.conv_seg\.(weight|bias)')


def from_official(
    encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor], preset: str | DCFMConfig
) -> DCFM:
    """Build the network of a preset from the two official state dicts.

    Args:
        encoder: State dict of the official encoder, with or without the 'module.' prefix.
        decoder: State dict of the official decoder, likewise.
        preset: Name of a preset (`DCFMConfig.PRESETS`), or a configuration.

    Returns:
        The network in eval mode, in the dtype of the given tensors.

    Raises:
        CheckpointError: If keys are missing or left over, or shapes differ; all are listed.
        ValueError: If there is no preset of that name.
    """
    config = DCFMConfig.preset(preset) if isinstance(preset, str) else preset
    net = DCFM(config)
    given = {
        'encoder': {key.removeprefix('module.'): value for key, value in encoder.items()},
        'decoder': {key.removeprefix('module.'): value for key, value in decoder.items()},
    }
    state, problems = {}, []
    for key, own in net.state_dict().items():
        part, official = official_key(key, config)
        value = given[part].pop(official, None)
        if value is None and official in _WITHOUT_DROPOUT:
            value = given[part].pop(_WITHOUT_DROPOUT[official], None)
        if value is None:
            problems.append(f'missing in {part}: {official}')
        elif problem := shape_problem(value, own):
            problems.append(f'shape of {official} in {part}: {problem}')
        else:
            state[key] = value.reshape(own.shape)
    for part, rest in given.items():
        problems += [f'not known in {part}: {key}' for key in rest if not _UNUSED.fullmatch(key)]
    if problems:
        listed = '\n  '.join(problems)
        raise CheckpointError(f'the state dicts do not fit {config.backbone}:\n  {listed}')
    dtype = next(iter(state.values())).dtype
    net.to(dtype).load_state_dict(state)
    return net.eval()


def load_official(encoder: str | PathLike[str], decoder: str | PathLike[str], preset: str) -> DCFM:
    """As `from_official`, from the two `.pth` files; only tensors are unpickled.

    Raises:
        FileNotFoundError: If a file is missing.
        CheckpointError: If a file is not a plain state dict, or does not fit the preset.
    """
    DCFMConfig.preset(preset)  # a wrong name should not cost the reading of two large files
    return from_official(read_weights(Path(encoder)), read_weights(Path(decoder)), preset)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.pth` file, which may hold it under 'state_dict'.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it holds anything else.
    """
    if not path.exists():
        raise FileNotFoundError(f'no such file: {path}')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises what its unpickler, zip reader and I/O raise
        raise CheckpointError(f'{path} cannot be read as weights: {error}') from error
    state = state.get('state_dict', state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'{path} does not hold a state dict of tensors')
    return state


def shape_problem(value: Tensor, own: Tensor) -> str:
    """How a shape differs; '' if it fits, for a linear layer there can be a 1x1 conv here."""
    if value.numel() == own.numel() and value.shape[:1] == own.shape[:1]:
        return ''
    return f'{tuple(value.shape)}, expected {tuple(own.shape)}'


def official_key(key: str, config: DCFMConfig) -> tuple[str, str]:
    """Where a key of our state dict is found: ('encoder' or 'decoder', official key)."""
    kind = 'mit' if config.backbone.startswith('mit') else 'resnet'
    for part, pattern, replacement in _RULES:
        if part in (kind, 'any') and re.match(pattern, key):
            official = re.sub(pattern, replacement, key)
            return ('encoder' if official.startswith('backbone.') else 'decoder'), official
    if found := re.match(r'encoder\.(stages|fuse\.linear|layers)\.(\d)\.(.*)', key):
        return 'encoder', _numbered(found[1], int(found[2]), found[3])
    raise ValueError(f'no official key for {key!r} of backbone {config.backbone!r}')


def _numbered(group: str, index: int, rest: str) -> str:
    """Official keys count stages from one, and name what precedes a MiT stage apart."""
    number = index + 1
    if group == 'layers':
        return f'backbone.layer{number}.{rest}'
    if group == 'fuse.linear':
        return f'backbone.decoder.linear_c{number}.proj.{rest}'
    if rest.startswith('downsample.'):
        return f'backbone.encoder.patch_embed{number}.{rest.removeprefix("downsample.")}'
    if rest.startswith('blocks.'):
        rest = rest.removeprefix('blocks.').replace('mlp.dwconv.', 'mlp.dwconv.dwconv.')
        return f'backbone.encoder.block{number}.{rest}'
    return f'backbone.encoder.norm{number}.{rest.removeprefix("norm.")}'


_RULES = (
    ('any', r'common_projection\.', 'bot_aspp.'),
    ('any', r'fusion\.', 'ffm.convblk.'),
    ('any', r'head\.', 'final.'),
    ('mit', r'encoder\.patch_embed\.', 'backbone.encoder.patch_embed1.'),
    ('mit', r'encoder\.fuse\.fuse\.', 'backbone.decoder.linear_fuse.conv.'),
    ('mit', r'encoder\.fuse\.norm\.', 'backbone.decoder.linear_fuse.bn.'),
    ('resnet', r'encoder\.stem\.', 'backbone.layer0.'),
    ('resnet', r'encoder\.pyramid_pooling\.branches\.(\d)\.0\.', r'backbone.ppm.features.\1.1.'),
    ('resnet', r'encoder\.pyramid_pooling\.branches\.(\d)\.1\.', r'backbone.ppm.features.\1.2.'),
)
