"""Which backend runs a network."""

from __future__ import annotations

import torch

from dcfm_ros.backends.device import resolve_device
from dcfm_ros.backends.graph_backend import GraphBackend
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.dcfm import DCFM


def make_backend(
    net: DCFM,
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
        precision: 'fp32', 'bf16', 'fp16', or 'auto': that of the network, but in OpenVINO what
            the CPU computes in hardware. 'bf16' and 'fp16' need PyTorch.
        num_slices: Parts that the deep encoder runs in.

    Raises:
        ValueError: If a value is unknown, the backend does not support that device, network or
            precision, or the device is absent.
        ImportError: If the backend is not installed.
    """
    place = resolve_device(device)
    dtype = next(net.parameters()).dtype
    may_use_openvino = precision in ('auto', 'fp32')
    if backend == 'auto':
        is_for_openvino = place.type == 'cpu' and dtype == torch.float32 and may_use_openvino
        backend = 'openvino' if is_for_openvino and _has_openvino() else 'torch'
    if backend == 'torch':
        in_torch = TorchBackend(net, place, precision)
        if place.type != 'cuda':
            return in_torch
        from dcfm_ros.backends.cuda_runner import CudaGraphRunner

        return GraphBackend(in_torch, CudaGraphRunner(in_torch), num_slices=num_slices)
    if backend != 'openvino':
        raise ValueError(f'`backend` must be auto, torch or openvino, got {backend!r}')
    if not may_use_openvino:
        raise ValueError(f'`precision` must be auto or fp32 for {backend}, got {precision!r}')
    if place.type != 'cpu':
        raise ValueError(f'`backend` must be auto or torch on {place}, got {backend!r}')
    if dtype != torch.float32:
        raise ValueError(f'`net` must be float32 for backend {backend}, got {dtype}')
    from dcfm_ros.backends.openvino_runner import OpenVinoRunner

    in_torch = TorchBackend(net, place)
    try:
        runner = OpenVinoRunner(in_torch.net, is_exact=precision == 'fp32')
    except ImportError as error:
        msg = f'`backend` {backend} needs: pip install dcfm_ros[speed] ({error})'
        raise ImportError(msg) from error
    return GraphBackend(in_torch, runner, num_slices=num_slices)


def _has_openvino() -> bool:
    from dcfm_ros.backends.openvino_runner import import_openvino

    try:
        import_openvino()
    except (ImportError, OSError):  # OSError: a shared library is missing
        return False
    return True
