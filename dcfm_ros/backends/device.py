"""Where the network runs."""

from __future__ import annotations

import torch


def resolve_device(device: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ValueError: If the name is unknown, or asks for a CUDA device that is absent.
    """
    if device == 'auto':
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    if device == 'cpu':
        return torch.device('cpu')
    kind, _, index = device.partition(':')
    if kind != 'cuda' or not (index.isdecimal() or device == 'cuda'):
        raise ValueError(f'`device` must be auto, cpu, cuda or cuda:<n>, got {device!r}')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise ValueError(f'`device` {device!r} is absent: torch sees {count} CUDA device(s)')
    return torch.device('cuda', int(index or 0))
