"""The fusion of a keyframe's feature with a frame's own, split so that each side is done once.

It is one 1x1 convolution over [common ; half independent], that is W_a common + W_b independent:
a keyframe does W_a common + bias, and every frame adds W_b independent. Shapes: B batch, K
classes, C_F common channels, C_f independent channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.folding import folded_weights
from dcfm_ros.models.dcfm import DCFM, least_norm, normalise
from dcfm_ros.models.fusion import align


class SplitFusion(NamedTuple):
    """Both halves of the convolution, batch norm folded."""

    common: Tensor
    """W_a, (C_F, C_F, 1, 1)."""
    independent: Tensor
    """W_b, (C_F, C_f / 2, 1, 1)."""
    bias: Tensor
    """(C_F)."""


def split_fusion(net: DCFM) -> SplitFusion:
    """The fusion of a network whose `fuses_linearly` is True."""
    fusion, split = net.fusion, net.common_channels
    weight, bias = folded_weights(fusion.conv.weight, fusion.conv.bias, fusion.norm)
    return SplitFusion(weight[:, :split].contiguous(), weight[:, split:].contiguous(), bias)


def decode(net: DCFM, halves: SplitFusion, cached: Sequence[Tensor], feature: Tensor) -> Tensor:
    """Logits from one projected common feature, or the mean of those from two (Eq. 7).

    Args:
        net: The network, in eval mode.
        halves: Of its fusion.
        cached: Projected common features, (B, C_F, h, w).
        feature: Raw independent feature, (B, C_f, h', w').

    Returns:
        (B, K, h, w).
    """
    # In memory order: otherwise OpenVINO rearranges it to slice its channels.
    last = feature.permute(0, 2, 3, 1)
    half = last[..., : net.fusion.kept_channels] / _norm(last, -1)
    half = align(half.permute(0, 3, 1, 2), (cached[0].shape[-2], cached[0].shape[-1]))
    own = F.conv2d(half, halves.independent)
    fused = [F.relu(common + own) for common in cached]
    if net.config.head != 'linear':
        return mean([net.classify(normalise(one)) for one in fused])
    # A linear head commutes with the sum of two fused features, and with the normalisation of
    # a single one, which then divides K channels instead of C_F.
    if len(fused) == 1:
        return net.classify(fused[0]) / _norm(fused[0])
    return net.classify(mean([normalise(one) for one in fused]))


def mean(maps: Sequence[Tensor]) -> Tensor:
    """Of one tensor or several of one shape."""
    # Not stacked: that would change their memory layout.
    return maps[0] if len(maps) == 1 else reduce(torch.add, maps) / len(maps)


def _norm(feature: Tensor, dim: int = 1) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(feature, dim=dim, keepdim=True)
    return norm.clamp_min(least_norm(norm.dtype))
