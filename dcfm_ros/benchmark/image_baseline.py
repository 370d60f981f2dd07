"""The image baseline: the backbone and head of a DCFM on every frame, without fusion (SegFormer).

An engine runs it, so that it has the same backend, folded batch norms and fused upsampling as its
rival.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM, least_norm, normalise


class ImageBaseline(DCFM):
    """A DCFM without the fusion; at keyframe interval 1 an image network."""

    fuses_linearly = False

    def __init__(self, net: DCFM) -> None:
        super().__init__(net.config)
        self.load_state_dict(net.state_dict())
        self.to(next(net.parameters()).dtype).eval()

    def to_common(self, deep: Tensor) -> Tensor:
        """Deep feature of the encoder -> feature for the head, not normalised yet."""
        return self.common_projection(deep)

    def fuse(
        self, common: Tensor, independent: Independent, *, is_keyframe: bool = True
    ) -> Tensor:
        """The common feature alone; the independent one is not even normalised."""
        return common

    def classify(self, fused: Tensor) -> Tensor:
        """Class logits of the normalised feature, (B, K, h, w)."""
        if self.config.head != 'linear':
            return super().classify(normalise(fused))
        # As in the engine's decoder: a linear head commutes with the normalisation.
        norm: Tensor = torch.linalg.vector_norm(fused, dim=1, keepdim=True)
        return super().classify(fused) / norm.clamp_min(least_norm(norm.dtype))
