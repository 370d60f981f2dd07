"""`TensorBackend`: what is asked of features and logits, where these are PyTorch tensors.

Shapes: C channels, K classes, H W image, h w grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends import feature_change, torch_masks, torch_warp
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.warp import Floats, Places
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork

Tensors = tuple[Tensor, ...]


class TensorBackend(Backend):
    """A backend whose logits are tensors, (1, K, h, w), and common features tuples of such.

    All of them pass the same tensors between stages, so that one can continue where another
    stopped. On the CPU their memory is worked on as NumPy arrays, without copies.
    """

    net: DCFM | StagedNetwork
    """The network, prepared for inference."""

    def wait(self) -> None:
        """See `Backend.wait`."""
        if self.device != 'cpu':
            torch.cuda.synchronize(self.device)

    def grid(self, feature: Tensor | Tensors) -> tuple[int, int]:
        """See `Backend.grid`."""
        tensors = [feature] if isinstance(feature, Tensor) else feature
        return max((one.shape[-2], one.shape[-1]) for one in tensors)

    def warp(self, feature: Tensors, at: Places) -> Tensors:
        """See `Backend.warp`."""
        return tuple(torch_warp.warp(one, at.on(self.grid(one))) for one in feature)

    def blend(self, logits: Tensor, earlier: Tensor, at: Places, weight: Floats) -> Tensor:
        """See `Backend.blend`."""
        return torch_warp.blend(logits, earlier, at, weight)

    @torch.inference_mode()
    def digest(self, independent: Independent) -> NDArray[np.float32]:
        """See `Backend.digest`."""
        feature = independent.feature.float()
        if not feature.is_cuda:
            return feature_change.digest(feature[0].permute(1, 2, 0).numpy())
        # Made there: it is 64 times smaller than the feature.
        cells = F.avg_pool2d(feature, feature_change.CELL, ceil_mode=True)
        vectors = F.normalize(cells, dim=1)[0].permute(1, 2, 0)
        return np.asarray(vectors.cpu().numpy(), np.float32)

    def class_mask(self, logits: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
        """See `Backend.class_mask`."""
        return torch_masks.class_mask(logits, size)

    def confidence_map(
        self, logits: Tensor, size: tuple[int, int], temperature: float = 1.0
    ) -> NDArray[np.float32]:
        """See `Backend.confidence_map`."""
        scaled = logits if temperature == 1 else logits / temperature
        return torch_masks.confidence_map(scaled, size)

    def to_array(self, logits: Tensor) -> NDArray[Any]:
        """See `Backend.to_array`."""
        is_half = logits.dtype in (torch.float16, torch.bfloat16)
        array: NDArray[Any] = (logits.float() if is_half else logits).cpu().numpy()
        return array
