"""What the backbones have in common: a shallow and a deep part (Eq. 1, 2), and the all-MLP fuse.

Shapes: B batch, C channels, H W image, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
import torch.nn.functional as F


class Independent(NamedTuple):
    """What the shallow encoder found in one frame."""

    feature: Tensor
    """Raw independent feature F_in, before normalisation, (B, C_f, h, w)."""
    state: Tensor
    """What the deep encoder continues from; the same tensor wherever the network is a chain."""


class DeepState(NamedTuple):
    """How far the deep encoder has come with a frame."""

    x: Tensor
    """What the next step continues from."""
    stages: tuple[Tensor, ...] = ()
    """Outputs of the finished stages that the last step fuses, (B, C_s, h_s, w_s)."""


DeepStep = Callable[[DeepState], DeepState]


class Encoder(nn.Module, ABC):
    """A backbone, cut into a shallow part for every frame and a deep part for keyframes.

    The deep part is a chain of short steps, so that it can be spread over several frames.
    """

    independent_channels: int
    """C_f."""
    out_channels: int
    """Channels of the deep feature."""

    @abstractmethod
    def shallow(self, image: Tensor) -> Independent:
        """Normalised image (B, 3, H, W) -> independent feature."""

    @abstractmethod
    def start(self, state: Tensor) -> DeepState:
        """Begin the deep part at the state that the shallow part left."""

    @abstractmethod
    def deep_steps(self) -> Sequence[DeepStep]:
        """The deep part's blocks in order, each as short as the network allows."""

    @abstractmethod
    def finish(self, state: DeepState) -> Tensor:
        """End the deep part: deep feature, (B, `out_channels`, h, w)."""

    def deep(self, state: Tensor) -> Tensor:
        """State of the shallow part -> deep feature (B, `out_channels`, h, w), all at once."""
        progress = self.start(state)
        for step in self.deep_steps():
            progress = step(progress)
        return self.finish(progress)


class AllMLPFuse(nn.Module):
    """SegFormer's all-MLP tail: stage features -> one feature at the first stage's stride.

    Defined as: project every stage to E channels, resize to the first stage's grid, concatenate
    from the deepest to the first, 1x1 convolution to E, BN, ReLU. All but the last two is linear
    and bilinear weights sum to one, so the two products of every stage are merged into one small
    matrix and applied before the resizing: the same values at a fraction of the multiply-adds.
    """

    def __init__(self, in_channels: list[int], out_channels: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)
        self.fuse = nn.Conv2d(len(in_channels) * out_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Fuse (B, C_s, h_s, w_s) of every stage, first to deepest, to (B, E, h_1, w_1)."""
        size = stages[0].shape[-2:]
        parts, biases = [], []
        for stage, (weight, bias) in zip(stages, self._merged(), strict=True):
            part = F.conv2d(stage, weight[:, :, None, None])
            if part.shape[-2:] != size:
                part = F.interpolate(part, size, mode='bilinear', align_corners=False)
            parts.append(part)
            biases.append(bias)
        fused = torch.stack(biases).sum(0).view(1, -1, 1, 1) + parts[0]
        for part in parts[1:]:
            fused = fused + part
        return self.dropout(F.relu(self.norm(fused)))

    def _merged(self) -> list[tuple[Tensor, Tensor]]:
        """Per stage, first to deepest: weight (E, C) and bias (E) of projection and fuse."""
        weights = self.fuse.weight.flatten(1).chunk(len(self.linear), dim=1)[::-1]
        merged = []
        for linear, weight in zip(self.linear, weights, strict=True):
            projection, bias = linear.get_parameter('weight'), linear.get_parameter('bias')
            merged.append((weight @ projection.flatten(1), weight @ bias))
        return merged
