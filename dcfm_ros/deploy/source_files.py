"""The files in which other libraries leave their networks; nothing is unpickled but tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import Tensor, nn

from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.official import read_weights

WEIGHTS, CONFIG = 'model.safetensors', 'config.json'


class Source(NamedTuple):
    """What a reader finds on disk."""

    architecture: dict[str, Any]
    num_classes: int
    weights: dict[str, Tensor]
    values: dict[str, Any]
    """Further fields of `ImageNetworkConfig`."""
    training: dict[str, object]
    notes: list[str]


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it holds anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f'no such file: {path}')
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f'{path} is not JSON: {error}') from None
    if not isinstance(values, dict):
        raise CheckpointError(f'{path} must hold a table, got {values!r}')
    return values


def read_folder_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder that `save_pretrained` wrote.

    Raises:
        FileNotFoundError: If it has no model.safetensors.
        CheckpointError: If the weights are in parts or pickled, or the file is damaged.
    """
    path = folder / WEIGHTS
    if path.is_file():
        return read_tensors(path)
    again = 'load the network with its own library and call save_pretrained'
    if (index := folder / f'{WEIGHTS}.index.json').is_file():
        msg = f'{index}: weights in several files are not read; {again} with a large'
        raise CheckpointError(f'{msg} max_shard_size')
    if pickled := sorted(folder.glob('*.bin')):
        msg = f'{pickled[0]} is pickled and may run code, so it is not read; {again}'
        raise CheckpointError(f'{msg}, which writes {WEIGHTS}')
    raise FileNotFoundError(f'no such file: {path}')


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or a .pth; nothing but tensors is unpickled.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it holds anything else.
    """
    if path.suffix != '.safetensors':
        return read_weights(path)
    if not path.is_file():
        raise FileNotFoundError(f'no such file: {path}')
    try:
        return load_file(path)
    except SafetensorError as error:
        msg = f'{path} is not a whole safetensors file (truncated or foreign): {error}'
        raise CheckpointError(msg) from None


def load_renamed(
    net: nn.Module,
    given: Mapping[str, Tensor],
    names: Callable[[str], tuple[str, ...]],
    path: Path,
) -> None:
    """Fill a network with tensors that have other names.

    Args:
        net: Takes the dtype of the tensors, if that is float64; else it stays float32.
        given: State dict of another library.
        names: Of a key of `net`, the keys in `given` that are put one below the other.
        path: For messages.

    Raises:
        CheckpointError: If keys are missing or left over, or shapes differ; all are listed.
    """
    rest, state, problems = dict(given), {}, []
    for key, own in net.state_dict().items():
        found = [rest.pop(name, None) for name in names(key)]
        missing = [name for name, value in zip(names(key), found, strict=True) if value is None]
        problems += [f'missing: {name}' for name in missing]
        if missing:
            continue
        parts = [part for part in found if part is not None]
        value = parts[0] if len(parts) == 1 else torch.cat(parts)
        if value.shape != own.shape:
            wanted = (own.shape[0] // len(parts), *own.shape[1:]) if own.ndim else ()
            problems += [
                f'shape of {name}: {tuple(part.shape)}, expected {wanted}'
                for name, part in zip(names(key), parts, strict=True)
                if tuple(part.shape) != wanted
            ]
        state[key] = value
    problems += [f'unexpected: {name}' for name in rest]
    if problems:
        listed = '\n  '.join(sorted(problems))
        raise CheckpointError(f'the tensors of {path} do not fit its architecture:\n  {listed}')
    if any(value.dtype == torch.float64 for value in state.values()):
        net.double()
    net.load_state_dict(state)
