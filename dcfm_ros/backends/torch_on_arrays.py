"""PyTorch in place of OpenVINO: the same arrays in and out, so that it can go on at any point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM

Array = NDArray[Any]


class TorchOnArrays:
    """The stages of a network on the CPU, from arrays to arrays, channels last."""

    def __init__(self, net: DCFM) -> None:
        """Take the network; it is left as it is."""
        self._torch = TorchBackend(net, torch.device('cpu'))
        self.name, self.precision = self._torch.name, self._torch.precision

    def encode_independent(self, image: Array) -> tuple[Array, Array]:
        """(1, H, W, 3) uint8 -> independent feature and state."""
        writable = np.require(image, requirements='W')  # else PyTorch warns
        independent = self._torch.encode_independent(
            self._torch.from_bytes(torch.from_numpy(writable))
        )
        feature = _last(independent.feature)
        is_chain = independent.state is independent.feature
        return feature, feature if is_chain else _last(independent.state)

    def deep_task(self, feature: Array, state: Array) -> DeepTask:
        """Returns the projected common feature; see `Backend.deep_task`."""
        task = self._torch.deep_task(Independent(_planes(feature), _planes(state)))
        *steps, last = task.steps
        return replace(task, steps=[*steps, lambda before: _last(last(before))])

    def encode_common(self, feature: Array, state: Array) -> Array:
        """The result of `deep_task`, all at once."""
        task = self.deep_task(feature, state)
        task.run(0, len(task.steps))
        return task.feature

    def decode(self, cached: Sequence[Array], feature: Array) -> Array:
        """Logits, (K, h, w)."""
        planes = _planes(feature)
        logits = self._torch.decode([_planes(one) for one in cached], Independent(planes, planes))
        return logits[0].contiguous().numpy()


def _last(tensor: Tensor) -> Array:
    return tensor.permute(0, 2, 3, 1).contiguous().numpy()


def _planes(array: Array) -> Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)
