"""The checkpoint format: one safetensors file that rebuilds the network alone.

Tensors are the network's state dict (each float32 or float16); for the metadata see
`checkpoint_header`. Nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import json
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
import torch
from torch import Tensor

from dcfm_ros.files import write_bytes
from dcfm_ros.models.checkpoint_header import FORMAT_VERSION, CheckpointError, read_metadata
from dcfm_ros.models.checksums import data_problem, seal
from dcfm_ros.models.config import DCFMConfig, NetworkConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.image_networks.config import ImageNetworkConfig, network_config
from dcfm_ros.models.staged import StagedNetwork


def save_checkpoint(
    path: str | PathLike[str],
    net: DCFM | StagedNetwork,
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
    write_bytes(Path(path), seal(save(tensors, _metadata(net.config, training or {}))))


def copy_checkpoint(
    path: str | PathLike[str],
    output: str | PathLike[str],
    config: NetworkConfig,
    training: Mapping[str, object],
) -> None:
    """Write the tensors of a checkpoint, as they are stored, with another configuration.

    Args:
        path: Checkpoint.
        output: Target; may be the same file.
        config: What changes no tensor may differ from that of the file.
        training: As in `save_checkpoint`.
    """
    tensors = _read_tensors(Path(path))
    write_bytes(Path(output), seal(save(tensors, _metadata(config, training))))


def _metadata(config: NetworkConfig, training: Mapping[str, object]) -> dict[str, str]:
    """What the header of a file says."""
    return {
        'format_version': str(FORMAT_VERSION),
        'config': json.dumps(config.to_dict()),
        'training': json.dumps(dict(training)),
    }


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


def build_network(config: NetworkConfig) -> DCFM | StagedNetwork:
    """The network of a configuration of either kind, with random weights.

    Raises:
        ImportError: If the library that builds it is not installed.
        ValueError: If the configuration fits no network.
    """
    if isinstance(config, ImageNetworkConfig):
        # Here, because torchvision takes long to load.
        from dcfm_ros.models.image_networks.image_network import ImageNetwork

        return ImageNetwork(config)
    assert isinstance(config, DCFMConfig)
    return DCFM(config)


def load_checkpoint(
    path: str | PathLike[str],
    device: str | torch.device = 'cpu',
    *,
    read_config: Callable[[Mapping[str, object]], Any] = network_config,
    build: Callable[[Any], Any] = build_network,
) -> Any:
    """Rebuild the network that a checkpoint holds.

    Args:
        path: File written by `save_checkpoint`.
        device: Where to put the weights.
        read_config: Makes its configuration from plain values.
        build: Makes the network of such a configuration.

    Returns:
        The network in eval mode, float32: a `DCFM`, a `StagedNetwork`, or what `build` makes.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is not a checkpoint, is truncated or damaged, of a newer
            version, or its tensors do not fit its configuration; every mismatch is listed.
        ImportError: If it needs a library that is not installed.
    """
    metadata = read_metadata(path, read_config)
    try:
        net = build(metadata.config)
    except ValueError as error:
        raise CheckpointError(f'{path} cannot be loaded: {error}') from None
    given = _read_tensors(Path(path))
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


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            problem = data_problem(path)
    except (SafetensorError, ValueError) as error:
        problem = str(error)
    if problem:
        raise CheckpointError(f'{path} cannot be loaded: {problem}')
    return tensors
