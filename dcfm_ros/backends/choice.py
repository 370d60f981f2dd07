"""Which backend runs a network."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.torch_backend import DTYPES, TorchBackend
from dcfm_ros.models.dcfm import DCFM

BACKENDS = ('auto', 'torch', 'openvino', 'onnxruntime')
PRECISIONS = ('auto', *DTYPES)


def make_backend(
    name: str,
    net: DCFM,
    device: torch.device,
    *,
    precision: str = 'auto',
    num_slices: int = 1,
    is_beside: bool = False,
) -> Backend:
    """A backend by its name.

    Args:
        name: One of `BACKENDS`; 'auto' takes OpenVINO for a float32 network on the CPU where it
            is installed, else PyTorch.
        net: The network; left as it is.
        device: Where it runs; PyTorch only is for more than the CPU. On CUDA it replays graphs.
        precision: One of `PRECISIONS`; 'auto' is that of the network, but in OpenVINO what the CPU
            computes in hardware. PyTorch only is for less than 'fp32'.
        num_slices: Parts that the deep encoder will be run in.
        is_beside: Whether it will be run beside the frames.

    Raises:
        ValueError: If there is none of that name, or it is not for that device, network or
            precision.
        ImportError: If it is not installed.
    """
    if name not in BACKENDS:
        raise ValueError(f'`backend` must be one of {", ".join(BACKENDS)}, got {name!r}')
    if precision not in PRECISIONS:
        raise ValueError(f'`precision` must be one of {", ".join(PRECISIONS)}, got {precision!r}')
    if name == 'auto':
        is_float32 = next(net.parameters()).dtype == torch.float32
        is_for_graphs = device.type == 'cpu' and is_float32 and precision in ('auto', 'fp32')
        name = 'openvino' if is_for_graphs and _has_openvino() else 'torch'
    if name == 'torch':
        backend = TorchBackend(net, device, precision)
        if device.type != 'cuda':
            return backend
        from dcfm_ros.backends.cuda_backend import CudaBackend

        return CudaBackend(backend, num_slices=num_slices)
    if precision not in ('auto', 'fp32'):
        raise ValueError(f'`precision` must be auto or fp32 for {name}, got {precision!r}')
    if device.type != 'cpu':
        raise ValueError(f'`backend` must be auto or torch on {device}, got {name!r}')
    try:
        if name == 'openvino':
            from dcfm_ros.backends.openvino_backend import OpenVinoBackend

            is_exact = precision == 'fp32'
            return OpenVinoBackend(
                net, num_slices=num_slices, is_beside=is_beside, is_exact=is_exact
            )
        from dcfm_ros.backends.onnxruntime_backend import OnnxRuntimeBackend

        return OnnxRuntimeBackend(net, num_slices=num_slices, is_beside=is_beside)
    except ImportError as error:
        msg = f'`backend` {name} needs: pip install dcfm_ros[speed] ({error})'
        raise ImportError(msg) from error


def _has_openvino() -> bool:
    from dcfm_ros.backends.openvino_backend import import_openvino

    try:
        import_openvino()
    except (ImportError, OSError):  # OSError: a library that it needs
        return False
    return find_spec('onnx') is not None
