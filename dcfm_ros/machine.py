"""What figures were measured on, and what else ran there."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform
import sys
from typing import Any

from dcfm_ros.threads import num_threads

_PACKAGES = (
    'dcfm_ros', 'torch', 'openvino', 'onnxruntime', 'triton', 'timm', 'numpy',
    'opencv-python-headless',
)  # fmt: skip
_BF16 = ('avx512_bf16', 'amx_bf16')
_INT8 = ('avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp')
"""Instructions for products of bytes, as Linux names them."""


def has_int8_instructions() -> bool:
    """Whether this CPU multiplies bytes faster than floats; False where it does not say."""
    return bool(_flags() & set(_INT8))


def machine(device: str = '') -> dict[str, object]:
    """Facts of this machine; None where it does not say.

    Args:
        device: Which GPU is meant, 'cuda:1'; else the first that PyTorch sees, if it is loaded.
    """
    cpu, flags = _cpu(), _flags()
    governor = _lines('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
    torch: Any = sys.modules.get('torch')
    has_gpu = bool(torch) and torch.cuda.is_available()
    gpu = device if device.startswith('cuda') else 0
    return {
        'processor': cpu.get('model name', cpu.get('Model', platform.machine())),
        'cores': len(os.sched_getaffinity(0)),
        'threads': num_threads(),
        'bf16': [name for name in _BF16 if name in flags],
        'int8': [name for name in _INT8 if name in flags],
        'governor': governor[0] if governor else None,
        'omp_wait_policy': os.environ.get('OMP_WAIT_POLICY'),
        'load_average': [round(value, 2) for value in os.getloadavg()],
        'gpu': torch.cuda.get_device_name(gpu) if has_gpu else None,
        'cuda': torch.version.cuda if has_gpu else None,
        'system': f'{platform.system()} {platform.machine()}',
        'python': platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


@cache
def _cpu() -> dict[str, str]:
    """What Linux says of the last core."""
    pairs = (line.partition(':') for line in _lines('/proc/cpuinfo'))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _flags() -> frozenset[str]:
    cpu = _cpu()
    return frozenset(cpu.get('flags', cpu.get('Features', '')).split())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding='utf-8').splitlines()
    except OSError:
        return []
