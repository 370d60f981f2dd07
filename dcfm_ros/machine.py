"""What figures were measured on, and what else ran there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform

import torch

_PACKAGES = (
    'dcfm_ros', 'torch', 'openvino', 'onnxruntime', 'triton', 'timm', 'numpy',
    'opencv-python-headless',
)  # fmt: skip


def machine(device: torch.device | None = None) -> dict[str, object]:
    """Facts of this machine; None where it does not tell.

    Args:
        device: The GPU that is meant; None: the first one.
    """
    gpu = device if device is not None and device.type == 'cuda' else 0
    facts: dict[str, object] = {
        'processor': _processor(),
        'cores': len(os.sched_getaffinity(0)),
        'threads': torch.get_num_threads(),
        'bf16': [name for name in ('avx512_bf16', 'amx_bf16') if name in _flags()],
        'governor': _first_line('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor'),
        'omp_wait_policy': os.environ.get('OMP_WAIT_POLICY'),
        'load_average': [round(value, 2) for value in os.getloadavg()],
        'gpu': torch.cuda.get_device_name(gpu) if torch.cuda.is_available() else None,
        'cuda': torch.version.cuda if torch.cuda.is_available() else None,
        'system': f'{platform.system()} {platform.machine()}',
        'python': platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    return facts


def _processor() -> str:
    names = (
        line.partition(':')[2].strip()
        for line in _lines('/proc/cpuinfo')
        if line.startswith(('model name', 'Model'))
    )
    return next(names, platform.processor() or platform.machine())


def _flags() -> list[str]:
    flags = (line for line in _lines('/proc/cpuinfo') if line.startswith(('flags', 'Features')))
    return next(flags, '').split()


def _first_line(path: str) -> str | None:
    return next(iter(_lines(path)), None)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding='utf-8').splitlines()
    except OSError:
        return []
