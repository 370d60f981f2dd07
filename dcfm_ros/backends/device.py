"""Where the network runs."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
import sys


def resolve_device(device: str) -> str:
    """The device of that name: 'cpu', or 'cuda:0', ...; loads PyTorch only to look for a GPU.

    Raises:
        ValueError: If the name is unknown, or asks for a CUDA device that is absent.
    """
    if device == 'auto':
        return 'cuda:0' if _has_driver() and _count_gpus() else 'cpu'
    if device == 'cpu':
        return device
    kind, _, index = device.partition(':')
    if kind != 'cuda' or not (index.isdecimal() or device == 'cuda'):
        raise ValueError(f'`device` must be auto, cpu, cuda or cuda:<n>, got {device!r}')
    count = _count_gpus()
    if int(index or 0) >= count:
        raise ValueError(f'`device` {device!r} is absent: torch sees {count} CUDA device(s)')
    return f'cuda:{int(index or 0)}'


def _has_driver() -> bool:
    """Whether CUDA may work: without the driver's library PyTorch sees no GPU."""
    if 'torch' in sys.modules:
        return True
    try:
        ctypes.CDLL('libcuda.so.1')
    except OSError:
        return False
    return True


def _count_gpus() -> int:
    if not find_spec('torch'):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
