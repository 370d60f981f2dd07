"""The checkpoint format: one safetensors file that rebuilds the network alone.

Tensors are the network's state dict (each float32 or float16). The metadata holds

- `format_version`: '2', or '1' of before normalisation was recorded (then it is ImageNet's, and
  timm networks are cut behind their first stage). Newer versions are refused.
- `config`: JSON of `DCFMConfig`, with class names and palette.
- `training`: JSON record of how the weights came to be; free keys. The node reads `image_height`.

Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import json
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
import torch
from torch import Tensor

from dcfm_ros.files import new_file
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, DCFMConfig
from dcfm_ros.models.dcfm import DCFM

FORMAT_VERSION = 2
_PACKAGED = Path(__file__).resolve().parent / 'weights'


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message says which file and lists every mismatch."""


@dataclass(frozen=True, kw_only=True)
class CheckpointMetadata:
    """What a checkpoint says of itself."""

    config: DCFMConfig
    training: dict[str, object]
    format_version: int

    @property
    def image_height(self) -> int:
        """Rows of the images that it was trained on; 0: the record does not say."""
        height = self.training.get('image_height')
        return height if isinstance(height, int) else 0


def packaged_checkpoints() -> dict[str, Path]:
    """The weights that are shipped with the package, by the names of their files."""
    return {path.stem: path for path in sorted(_PACKAGED.glob('*.safetensors'))}


def find_checkpoint(given: str | PathLike[str] | None = None) -> Path:
    """The file of the weights that a user names.

    Args:
        given: A path, ~ being the home folder, or the name of packaged weights ('default'). A file
            that exists wins over a name. None or '': the packaged default.

    Raises:
        FileNotFoundError: If it is neither; the message names the packaged weights.
    """
    if given and (path := Path(given).expanduser()).is_file():
        return path
    name, packaged = str(given or 'default'), packaged_checkpoints()
    if name not in packaged:
        msg = f'no such checkpoint file: {name}; packaged are {", ".join(packaged) or "none"}'
        raise FileNotFoundError(msg)
    return packaged[name]


def save_checkpoint(
    path: str | PathLike[str],
    net: DCFM,
    training: Mapping[str, object] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a network to one file; a crash half-way leaves the old file as it was.

    Args:
        path: Target, usually '*.safetensors'.
        net: The network; config, class names and palette are taken from it.
        training: JSON-able record of data, command, steps, figures.
        dtype: Floating-point type of the stored tensors, but for those that it cannot hold, see
            `storage_problem`; None keeps the network's.
    """
    tensors = {}
    for key, value in net.state_dict().items():
        stored = value.detach().cpu()
        if dtype and stored.is_floating_point() and not storage_problem(stored, dtype):
            stored = stored.to(dtype)
        tensors[key] = stored.contiguous()
    metadata = {
        'format_version': str(FORMAT_VERSION),
        'config': json.dumps(net.config.to_dict()),
        'training': json.dumps(dict(training or {})),
    }
    with new_file(Path(path)) as part:
        save_file(tensors, part, metadata)


def storage_problem(value: Tensor, dtype: torch.dtype) -> str:
    """What in a tensor a floating-point type cannot hold, in words; '' if it can.

    An element of a vector (statistics and scale of a batch norm, bias) must keep its own leading
    digits; one of a weight only has to be right beside the largest of its tensor.
    """
    limits, sizes = torch.finfo(dtype), value.abs()
    scale = sizes if value.ndim < 2 else sizes.max()
    is_lost = (value.to(dtype).to(value.dtype) - value).abs() > limits.eps * scale
    if not is_lost.any():
        return ''
    lost, high = sizes[is_lost], limits.max
    if lost.max() > high:
        return f'values up to {lost.max():.3g}, above {high:g}'
    return f'values down to {lost.min():.3g}, below {limits.smallest_normal:.3g}'


def read_metadata(
    path: str | PathLike[str], config_class: type[DCFMConfig] = DCFMConfig
) -> CheckpointMetadata:
    """Read what a checkpoint says of itself, without its weights.

    Args:
        path: The file.
        config_class: What its configuration is read as.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is not a checkpoint of this package, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no such checkpoint file: {path}')
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        msg = f'{path} is not a whole safetensors file (truncated or foreign): {error}'
        raise CheckpointError(msg) from None
    return _parse(path, metadata, config_class)


def load_checkpoint(
    path: str | PathLike[str],
    device: str | torch.device = 'cpu',
    *,
    config_class: type[DCFMConfig] = DCFMConfig,
    build: Callable[[Any], DCFM] = DCFM,
) -> DCFM:
    """Rebuild the network that a checkpoint holds.

    Args:
        path: File written by `save_checkpoint`.
        device: Where to put the weights.
        config_class: What its configuration is read as.
        build: Makes the network of such a configuration.

    Returns:
        The network in eval mode, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a checkpoint, is truncated, of a newer version, or its
            tensors do not fit its configuration; every mismatch is listed.
    """
    metadata = read_metadata(path, config_class)
    try:
        net = build(metadata.config)
        with safe_open(path, framework='pt') as file:
            given = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f'{path} cannot be loaded: {error}') from None
    expected = net.state_dict()
    problems = [f'missing: {key}' for key in expected if key not in given]
    problems += [f'unexpected: {key}' for key in given if key not in expected]
    for key in expected.keys() & given.keys():
        if (found := tuple(given[key].shape)) != (wanted := tuple(expected[key].shape)):
            problems.append(f'shape of {key}: {found}, expected {wanted}')
    if problems:
        listed = '\n  '.join(sorted(problems))
        raise CheckpointError(f'{path} does not fit its configuration:\n  {listed}')
    net.load_state_dict(given)
    return net.to(device).eval()


def _version_1(config: Mapping[str, object]) -> dict[str, object]:
    """What a configuration of version 1 meant without saying so."""
    meant: dict[str, object] = {'image_mean': IMAGENET_MEAN, 'image_std': IMAGENET_STD}
    if str(config.get('backbone')).startswith('timm:'):
        meant['independent_stage'] = 'stage'
    return meant


def _parse(
    path: Path, metadata: Mapping[str, str], config_class: type[DCFMConfig]
) -> CheckpointMetadata:
    version = metadata.get('format_version')
    if version is None or 'config' not in metadata:
        msg = f'{path} is a safetensors file, but not a dcfm_ros checkpoint: its metadata has '
        raise CheckpointError(f'{msg}no format_version and config, only {sorted(metadata)}')
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT_VERSION:
        supported = f'supported are versions 1 to {FORMAT_VERSION}'
        raise CheckpointError(f'{path} has checkpoint format {version!r}; {supported}')
    try:
        values = dict(json.loads(metadata['config']))
        config = config_class.from_dict(values | (_version_1(values) if version == '1' else {}))
        training = dict(json.loads(metadata.get('training', '{}')))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f'{path} has an unreadable header: {error}') from None
    return CheckpointMetadata(config=config, training=training, format_version=int(version))
