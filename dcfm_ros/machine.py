"""What figures were measured on, and what else ran there."""

from __future__ import annotations

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


def machine(device: str = '') -> dict[str, object]:
    """Facts of this machine; None where it does not say.

    Args:
        device: Which GPU is meant, 'cuda:1'; else the first that PyTorch sees, if it is loaded.
    """
    pairs = (line.partition(':') for line in _lines('/proc/cpuinfo'))
    cpu = {key.strip(): value.strip() for key, _, value in pairs}
    flags = cpu.get('flags', cpu.get('Features', '')).split()
    governor = _lines('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')
    torch: Any = sys.modules.get('torch')
    has_gpu = bool(torch) and torch.cuda.is_available()
    gpu = device if device.startswith('cuda') else 0
    return {
        'processor': cpu.get('model name', cpu.get('Model', platform.machine())),
        'cores': len(os.sched_getaffinity(0)),
        'threads': num_threads(),
        'bf16': [name for name in ('avx512_bf16', 'amx_bf16') if name in flags],
        'governor': governor[0] if governor else None,
        'omp_wait_policy': os.environ.get('OMP_WAIT_POLICY'),
        'load_average': [round(value, 2) for value in os.getloadavg()],
        'gpu': torch.cuda.get_device_name(gpu) if has_gpu else None,
        'cuda': torch.version.cuda if has_gpu else None,
        'system': f'{platform.system()} {platform.machine()}',
        'python': platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
    }


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
