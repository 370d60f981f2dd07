"""`StagedDcfm`: a DCFM whose fusion is split, so that each side of it is done once.

It is one 1x1 convolution over [common ; half independent], that is W_a common + W_b independent:
a keyframe does W_a common + bias, and every frame adds W_b independent. Shapes: B batch, K
classes, C_F common channels, C_f independent channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.folding import folded_weights
from dcfm_ros.models.backbone import DeepState, Independent
from dcfm_ros.models.dcfm import DCFM, least_norm, normalise
from dcfm_ros.models.fusion import align
from dcfm_ros.models.staged import StagedNetwork, Step, mean


class StagedDcfm(StagedNetwork):
    """A DCFM in the parts that an engine runs.

    The cached feature is the keyframe's half of the fusion, to which a frame adds its own: about a
    tenth of the work. A network whose `fuse` is not such a sum (`fuses_linearly` is False) runs it
    unchanged.
    """

    def __init__(self, net: DCFM) -> None:
        """Take a network; its weights are shared."""
        super().__init__()
        self.net = net
        self.config = net.config
        self._halves: SplitFusion | None = None

    @property
    def mean(self) -> Tensor:  # type: ignore[override]  # the network's, wherever it has gone
        """See `StagedNetwork.mean`."""
        return self.net.mean

    @property
    def std(self) -> Tensor:  # type: ignore[override]
        """See `StagedNetwork.std`."""
        return self.net.std

    def freeze(self) -> None:
        """See `StagedNetwork.freeze`: the halves are made once, not for every frame."""
        if self.net.fuses_linearly:
            self._halves = split_fusion(self.net)

    def _apply(self, fn: Any, recurse: bool = True) -> StagedDcfm:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._halves:
            self._halves = SplitFusion(*map(fn, self._halves))
        return self

    def encode_independent(self, image: Tensor) -> Independent:
        """See `StagedNetwork.encode_independent`."""
        return self.net.encode_independent(image)

    def shallow(self, image: Tensor) -> Independent:
        """See `StagedNetwork.shallow`."""
        return self.net.encoder.shallow(image)

    def start(self, independent: Independent) -> DeepState:
        """See `StagedNetwork.start`."""
        return self.net.encoder.start(independent.state)

    def deep_steps(self) -> list[Step]:
        """See `StagedNetwork.deep_steps`: those of the encoder, and the common feature's."""
        return [*self.net.encoder.deep_steps(), self._to_common]

    def _to_common(self, deep: DeepState) -> Tensor:
        return self.net.to_common(deep.x)

    def to_cached(self, deep: Tensor) -> tuple[Tensor, ...]:
        """See `StagedNetwork.to_cached`: the keyframe's half of the fusion."""
        if not self.net.fuses_linearly:
            return (deep,)
        halves = self._halves or split_fusion(self.net)
        return (F.conv2d(deep, halves.common, halves.bias),)

    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """See `StagedNetwork.decode`."""
        return self.decode_all([cached], independent)

    def decode_all(self, cached: Sequence[Sequence[Tensor]], independent: Independent) -> Tensor:
        """See `StagedNetwork.decode_all`."""
        commons = [common for (common,) in cached]
        if not self.net.fuses_linearly:
            return mean([self.net.classify(self.net.fuse(c, independent)) for c in commons])
        halves = self._halves or split_fusion(self.net)
        return decode(self.net, halves, commons, independent.feature)


def as_staged(net: DCFM | StagedNetwork) -> StagedNetwork:
    """A network in the parts that an engine runs; weights are shared."""
    return net if isinstance(net, StagedNetwork) else StagedDcfm(net)


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


def _norm(feature: Tensor, dim: int = 1) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(feature, dim=dim, keepdim=True)
    return norm.clamp_min(least_norm(norm.dtype))
