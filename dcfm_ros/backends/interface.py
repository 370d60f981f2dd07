"""`Backend`: the stages of a DCFM as the engine calls them.

Shapes: H W image, K classes, C_F common channels, h w grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM


class Backend(ABC):
    """Runs a network.

    All backends pass the same tensors between stages, so that one can continue where another
    stopped.
    """

    name: str
    """What runs the network now: 'torch' or 'openvino'."""
    device: torch.device
    """Where it runs."""
    failure: str = ''
    """Why another backend than the chosen one runs it; '' otherwise."""
    precision: str = 'fp32'
    """Number format it is computed in: 'fp32', 'bf16' or 'fp16'."""
    net: DCFM
    """The network, prepared for inference."""

    def for_another_camera(self) -> Backend:
        """A backend for another camera that shares the network; do not use both at once."""
        return self

    def wait(self) -> None:
        """Return when the device has finished its work."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)

    @abstractmethod
    def to_input(self, image: NDArray[np.uint8]) -> Any:
        """RGB (H, W, 3) uint8, contiguous -> what `encode_independent` takes."""

    @abstractmethod
    def encode_independent(self, image: Any) -> Independent:
        """Shallow encoder; on every frame."""

    @abstractmethod
    def deep_task(self, independent: Independent) -> DeepTask:
        """Deep encoder and common half of the fusion, not begun; on keyframes.

        It returns the feature to cache, (1, C_F, h, w).
        """

    def encode_common(self, independent: Independent) -> Tensor:
        """The result of `deep_task`, all at once."""
        task = self.deep_task(independent)
        task.run(0, len(task.steps))
        return task.feature

    @abstractmethod
    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """Fuse with one cached feature, or with two and average the logits (Eq. 7).

        Returns:
            Logits on the feature grid, (1, K, h, w).
        """
