"""The image baseline: the backbone and head of a DCFM on every frame, without fusion (SegFormer).

It is a network that an engine takes, so that it has the same backend, folded batch norms and fused
upsampling as its rival.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM, least_norm, normalise


class ImageNetwork(DCFM):
    """Every stage that fusion needs is left out; under keyframe interval 1 an image network.

    The ablation switches say so to a backend: a key frame uses the common feature alone.
    """

    def __init__(self, net: DCFM) -> None:
        super().__init__(
            replace(
                net.config,
                key_uses_common=True,
                nonkey_uses_common=True,
                key_uses_independent=False,
                nonkey_uses_independent=False,
            )
        )
        self.load_state_dict(net.state_dict())
        self.to(next(net.parameters()).dtype).eval()

    def to_common(self, deep: Tensor) -> Tensor:
        """Deep feature of the encoder -> feature for the head, not yet normalised."""
        feature: Tensor = self.common_projection(deep)
        return feature

    def fuse(
        self, common: Tensor, independent: Independent, *, is_keyframe: bool = True
    ) -> Tensor:
        """Nothing to fuse: the independent feature is not even normalised."""
        return common

    def classify(self, fused: Tensor) -> Tensor:
        """Class logits of the normalised feature, (B, K, h, w)."""
        if self.config.head != 'linear':
            return super().classify(normalise(fused))
        # As the engine's decoder: a linear head commutes with the normalisation.
        norm: Tensor = torch.linalg.vector_norm(fused, dim=1, keepdim=True)
        return super().classify(fused) / norm.clamp_min(least_norm(norm.dtype))
