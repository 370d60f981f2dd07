"""What a checkpoint says of itself, and which file a user means; no torch.

The metadata of the file holds

- `format_version`: '2', or '1' of before normalisation was recorded (then it is ImageNet's, and
  timm networks are cut behind their first stage). Newer versions are refused.
- `config`: JSON of `DCFMConfig`, or of `ImageNetworkConfig` if it has the key `library`; with
  class names and palette.
- `training`: JSON record of how the weights came to be; free keys. The node reads `image_height`.
- `crc32_data`, `crc32`: see `checksums`; not in files of earlier releases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import json
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dcfm_ros.models.checksums import data_problem, header_problem
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, NetworkConfig
from dcfm_ros.models.image_networks.config import network_config

FORMAT_VERSION = 2
Config = TypeVar('Config', bound=NetworkConfig)
_PACKAGED = Path(__file__).resolve().parent / 'weights'


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message says which file and lists every mismatch."""


@dataclass(frozen=True, kw_only=True)
class CheckpointMetadata(Generic[Config]):
    """What a checkpoint says of itself."""

    config: Config
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


@overload
def read_metadata(path: str | PathLike[str]) -> CheckpointMetadata[NetworkConfig]: ...


@overload
def read_metadata(
    path: str | PathLike[str], read_config: Callable[[Mapping[str, object]], Config]
) -> CheckpointMetadata[Config]: ...


def read_metadata(
    path: str | PathLike[str],
    read_config: Callable[[Mapping[str, object]], Any] = network_config,
) -> CheckpointMetadata[Any]:
    """Read what a checkpoint says of itself, without its weights.

    Args:
        path: The file.
        read_config: Makes the configuration from plain values; by default of every kind of
            network.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is not a checkpoint of this package, damaged, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no such checkpoint file: {path}')
    try:
        with safe_open(path, framework='np') as file:
            metadata = file.metadata() or {}
            problem = header_problem(path)
    except (SafetensorError, ValueError) as error:
        msg = f'{path} is not a whole safetensors file (truncated or foreign): {error}'
        raise CheckpointError(msg) from None
    if problem:
        raise CheckpointError(f'{path} cannot be loaded: {problem}')
    return _parse(path, metadata, read_config)


def read_weights(path: str | PathLike[str]) -> dict[str, NDArray[np.generic]]:
    """Read the tensors of a checkpoint as arrays, as they are stored.

    Raises:
        CheckpointError: If the file is not whole, damaged, or NumPy lacks the type of a tensor
            (bfloat16).
    """
    try:
        with safe_open(path, framework='np') as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            problem = data_problem(Path(path))
    except (SafetensorError, TypeError, ValueError) as error:
        problem = str(error)
    if problem:
        raise CheckpointError(f'{path} cannot be loaded: {problem}')
    return weights


def _version_1(config: Mapping[str, object]) -> dict[str, object]:
    """What a configuration of version 1 meant without saying so."""
    meant: dict[str, object] = {'image_mean': IMAGENET_MEAN, 'image_std': IMAGENET_STD}
    if str(config.get('backbone')).startswith('timm:'):
        meant['independent_stage'] = 'stage'
    return meant


def _parse(
    path: Path,
    metadata: Mapping[str, str],
    read_config: Callable[[Mapping[str, object]], Any],
) -> CheckpointMetadata[Any]:
    version = metadata.get('format_version')
    if version is None or 'config' not in metadata:
        msg = f'{path} is a safetensors file, but not a dcfm_ros checkpoint: its metadata has '
        msg += f'no format_version and config, only {sorted(metadata)}; `dcfm convert` makes one'
        raise CheckpointError(msg)
    if not version.isdecimal() or not 1 <= int(version) <= FORMAT_VERSION:
        supported = f'supported are versions 1 to {FORMAT_VERSION}'
        raise CheckpointError(f'{path} has checkpoint format {version!r}; {supported}')
    try:
        values = dict(json.loads(metadata['config']))
        config = read_config(values | (_version_1(values) if version == '1' else {}))
        training = dict(json.loads(metadata.get('training', '{}')))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f'{path} has an unreadable header: {error}') from None
    return CheckpointMetadata(config=config, training=training, format_version=int(version))
