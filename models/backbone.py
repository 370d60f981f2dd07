"""What the backbones have in common: a shallow and a deep part (Eq. 1, 2), and the all-MLP fuse.

Shapes: B batch, C channels, H W image, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
import torch.nn.functional as F


class Independent(NamedTuple):
    """What the shallow encoder found in one frame."""

    feature: Tensor
    """Raw independent feature F_in, before normalisation, (B, C_f, h, w)."""
    state: Tensor
    """What the deep encoder continues from; the same tensor wherever the network is a chain."""
    skips: tuple[Tensor, ...] = ()
    """Further features that a decoder wants of every frame, (B, C_s, h_s, w_s)."""

    def by_name(self) -> dict[str, Tensor]:
        """Its tensors, each once: 'feature', 'skip_0', ..., and 'state' if that is another."""
        skips = {f'skip_{index}': skip for index, skip in enumerate(self.skips)}
        state = {} if self.state is self.feature else {'state': self.state}
        return {'feature': self.feature, **skips, **state}

    @classmethod
    def from_names(cls, tensors: Mapping[str, Tensor]) -> Independent:
        """The inverse of `by_name`."""
        skips = (tensors[name] for name in tensors if name.startswith('skip_'))
        feature = tensors['feature']
        return cls(feature, tensors.get('state', feature), tuple(skips))


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
        """The deep part in order, in steps as short as the network allows.

        x of the last one is the deep feature, (B, `out_channels`, h, w).
        """

    def deep(self, state: Tensor) -> Tensor:
        """State of the shallow part -> deep feature (B, `out_channels`, h, w), all at once."""
        return run_steps(self.deep_steps(), self.start(state)).x


def run_steps(steps: Sequence[DeepStep], state: DeepState) -> DeepState:
    """Do some steps one after another."""
    for step in steps:
        state = step(state)
    return state


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
        return run_steps(self.steps(), DeepState(stages[-1], tuple(stages))).x

    def steps(self) -> list[DeepStep]:
        """The same for the stages that a `DeepState` has gathered, a step each."""
        return [*(partial(self._add, index) for index in range(len(self.linear))), self._end]

    def _add(self, index: int, state: DeepState) -> DeepState:
        size = state.stages[0].shape[-2:]
        weight, bias = self._merged(index)
        part = F.conv2d(state.stages[index], weight[:, :, None, None], bias)
        if part.shape[-2:] != size:
            part = F.interpolate(part, size, mode='bilinear', align_corners=False)
        return DeepState(part if index == 0 else state.x + part, state.stages)

    def _end(self, state: DeepState) -> DeepState:
        return DeepState(self.dropout(F.relu(self.norm(state.x))))

    def _merged(self, index: int) -> tuple[Tensor, Tensor]:
        """Weight (E, C) and bias (E) of projection and fuse of a stage, 0 the first."""
        weight = self.fuse.weight.flatten(1).chunk(len(self.linear), dim=1)[-1 - index]
        linear = self.linear[index]
        projection, bias = linear.get_parameter('weight'), linear.get_parameter('bias')
        return weight @ projection.flatten(1), weight @ bias
