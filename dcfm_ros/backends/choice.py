"""Which backend runs a network, and in which form it is loaded for that."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Union
import warnings

from dcfm_ros.backends.device import resolve_device
from dcfm_ros.backends.fallback import failure_text
from dcfm_ros.backends.graphs import UntranslatableError
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.prepared_network import PreparedNetwork, load_prepared, prepare
from dcfm_ros.threads import num_threads

if TYPE_CHECKING:
    from dcfm_ros.models.dcfm import DCFM
    from dcfm_ros.models.staged import StagedNetwork

Network = Union['DCFM', 'StagedNetwork', PreparedNetwork]
"""In PyTorch, or prepared for OpenVINO; either runs on every backend."""


def load_network(
    path: Path, device: str = 'auto', backend: str = 'auto', precision: str = 'auto'
) -> Network:
    """Load a checkpoint in the form that the backend of these `EngineOptions` takes.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be used.
        GraphsError: If the file of graphs beside it cannot be used.
        ValueError: As `make_backend`.
        ImportError: If the backend is not installed, or there are no graphs for OpenVINO and no
            PyTorch to make them with.
    """
    if _choose(resolve_device(device), backend, precision) == 'openvino':
        try:
            return load_prepared(path)
        except UntranslatableError:
            pass  # `make_backend` says so
        except ImportError:
            if backend != 'auto' or precision == 'int8' or not find_spec('torch'):
                raise
    try:
        from dcfm_ros.models.checkpoint import load_checkpoint
    except ImportError as error:
        raise ImportError(
            f"`backend` torch needs: pip install 'dcfm_ros[torch]' ({error})"
        ) from None
    return load_checkpoint(path)


def make_backend(
    net: Network,
    device: str = 'auto',
    backend: str = 'auto',
    precision: str = 'auto',
    *,
    num_slices: int = 1,
) -> Backend:
    """The backend that `EngineOptions` name.

    Args:
        net: The network; left as it is.
        device: Where it runs. On CUDA, PyTorch replays CUDA graphs.
        backend: 'torch', 'openvino' (CPU only), or 'auto': OpenVINO for a float32 network on the
            CPU if it is installed, else PyTorch.
        precision: 'fp32', 'bf16', 'fp16', 'int8', or 'auto': that of the network, but in OpenVINO
            what the CPU computes in hardware. 'bf16' and 'fp16' need PyTorch; 'int8' needs
            OpenVINO and a network from a file that `dcfm quantise` was run on.
        num_slices: Parts that the deep encoder runs in.

    Raises:
        ValueError: If a value is unknown, the backend does not support that device, network or
            precision, or the device is absent.
        GraphsError: If the network cannot be had in int8, or OpenVINO cannot read it.
        ImportError: If the backend is not installed.
    """
    place = resolve_device(device)
    chosen = _choose(place, backend, precision)
    if chosen == 'openvino' and not isinstance(net, PreparedNetwork):
        if precision == 'int8':
            raise ValueError('`net` must come from `load_network` for precision int8')
        import torch

        dtype = next(net.parameters()).dtype
        if backend == 'auto' and not (dtype == torch.float32 and find_spec('onnx')):
            chosen = 'torch'
        elif dtype != torch.float32:
            raise ValueError(f'`net` must be float32 for backend openvino, got {dtype}')
    if chosen == 'torch':
        return _in_torch(net, place, precision, num_slices)
    from dcfm_ros.backends.openvino_backend import OpenVinoBackend, OpenVinoNetwork

    try:
        prepared = net if isinstance(net, PreparedNetwork) else prepare(net)
    except UntranslatableError as error:
        fallen_back = _in_torch(net, place, precision, num_slices)
        fallen_back.failure = failure_text('openvino', error)
        warnings.warn(fallen_back.failure, RuntimeWarning, stacklevel=2)
        return fallen_back
    except ImportError as error:
        raise ImportError(_NEEDS.format("'dcfm_ros[torch]'", error)) from error
    network = OpenVinoNetwork(
        prepared,
        precision=precision,
        num_slices=num_slices,
        num_threads=num_threads(),
    )
    return OpenVinoBackend(network)


_NEEDS = '`backend` openvino needs: pip install {} ({})'


def _choose(place: str, backend: str, precision: str) -> str:
    """'torch' or 'openvino', whatever the network is."""
    if precision == 'int8':
        if place != 'cpu' or backend == 'torch':
            where = 'backend torch' if backend == 'torch' else place
            raise ValueError(f'`precision` int8 needs OpenVINO on the CPU, got {where}')
        backend = 'openvino'
    may_use_openvino = precision in ('auto', 'fp32', 'int8')
    if backend == 'auto':
        return 'openvino' if place == 'cpu' and may_use_openvino and _has_openvino() else 'torch'
    if backend == 'torch':
        return backend
    if backend != 'openvino':
        raise ValueError(f'`backend` must be auto, torch or openvino, got {backend!r}')
    if not may_use_openvino:
        allowed = 'auto, fp32 or int8'
        raise ValueError(f'`precision` must be {allowed} for {backend}, got {precision!r}')
    if place != 'cpu':
        raise ValueError(f'`backend` must be auto or torch on {place}, got {backend!r}')
    if not _has_openvino():
        raise ImportError(_NEEDS.format('openvino', "No module named 'openvino'"))
    return backend


def _in_torch(net: Network, place: str, precision: str, num_slices: int) -> Backend:
    from dcfm_ros.backends.torch_backend import TorchBackend

    in_torch = TorchBackend(
        net.in_torch() if isinstance(net, PreparedNetwork) else net, place, precision
    )
    if place == 'cpu':
        return in_torch
    from dcfm_ros.backends.cuda_runner import CudaGraphRunner
    from dcfm_ros.backends.graph_backend import GraphBackend

    return GraphBackend(in_torch, CudaGraphRunner(in_torch), num_slices=num_slices)


def _has_openvino() -> bool:
    from dcfm_ros.backends.openvino_models import import_openvino

    try:
        import_openvino()
    except (ImportError, OSError):  # OSError: a shared library is missing
        return False
    return True
