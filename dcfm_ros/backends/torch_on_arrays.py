"""PyTorch in place of OpenVINO: the same arrays in and out, so that it can go on at any point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dcfm_ros.backends.array_backend import Array, Arrays
from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork


class TorchOnArrays:
    """The stages of a network on the CPU, from arrays to arrays, channels last."""

    def __init__(self, net: DCFM | StagedNetwork) -> None:
        """Take the network; it is left as it is."""
        self._torch = TorchBackend(net, torch.device('cpu'))
        self.name, self.precision = self._torch.name, self._torch.precision

    def encode_independent(self, image: Array) -> dict[str, Array]:
        """(1, H, W, 3) uint8 -> arrays named as by `Independent.by_name`."""
        writable = np.require(image, requirements='W')  # else PyTorch warns
        independent = self._torch.encode_independent(
            self._torch.from_bytes(torch.from_numpy(writable))
        )
        return {name: _last(tensor) for name, tensor in independent.by_name().items()}

    def deep_task(self, found: Mapping[str, Array]) -> DeepTask:
        """Returns the common feature; see `Backend.deep_task`."""
        task = self._torch.deep_task(_independent(found))
        *steps, last = task.steps
        return replace(task, steps=[*steps, lambda before: tuple(map(_last, last(before)))])

    def encode_common(self, found: Mapping[str, Array]) -> Arrays:
        """The result of `deep_task`, all at once."""
        task = self.deep_task(found)
        task.run(0, len(task.steps))
        common: Arrays = task.feature
        return common

    def decode(self, cached: Sequence[Arrays], found: Mapping[str, Array]) -> Array:
        """Logits, (K, h, w)."""
        commons = [tuple(map(_planes, one)) for one in cached]
        logits = self._torch.decode(commons, _independent(found))
        return logits[0].contiguous().numpy()


def _independent(found: Mapping[str, Array]) -> Independent:
    return Independent.from_names({name: _planes(array) for name, array in found.items()})


def _last(tensor: Tensor) -> Array:
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()


def _planes(array: Array) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)
