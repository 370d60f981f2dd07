"""`PairNetwork`: what symmetric training runs of a network, a DCFM or one of another library.

Shapes: B batch, C channels, K classes, H W image, h w grid of a feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.models.backbone import Independent, run_steps
from dcfm_ros.models.dcfm import DCFM, normalise
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.training.ablated_network import fuse

Features = tuple[Tensor, ...]
"""(B, C, h, w) each, on grids of their own."""


class Fused(NamedTuple):
    """What a frame is classified by, as a keyframe or as a non-key frame."""

    features: Features
    """A DCFM's fused feature; the keyframe's deep features, if the decoder fuses them."""
    independent: Independent | None = None
    """The frame's own, if the decoder is still to look at it."""

    def moved(self, move: Callable[[Tensor], Tensor]) -> Fused:
        """Where another frame has its content."""
        independent = self.independent
        if independent is not None:
            feature, *skips = map(move, (independent.feature, *independent.skips))
            independent = Independent(feature, feature, tuple(skips))
        return Fused(tuple(map(move, self.features)), independent)


class PairNetwork(ABC):
    """A network in the parts that the two roles of a frame are put together from."""

    def __init__(self, net: DCFM | StagedNetwork) -> None:
        """Take a network; its weights are shared."""
        self._encode = net.encode_independent

    def encode(self, image: Tensor) -> Independent:
        """What every frame computes of its own: RGB in [0, 1], (B, 3, H, W)."""
        return self._encode(image)

    @abstractmethod
    def deep(self, independent: Independent) -> Features:
        """What a keyframe leaves to the frames after it."""

    @abstractmethod
    def fuse(self, deep: Features, independent: Independent, *, is_keyframe: bool) -> Fused:
        """Deep features of a keyframe, with what a frame has of its own."""

    @abstractmethod
    def classify(self, fused: Fused) -> Tensor:
        """Class logits on the network's own grid, (B, K, h, w)."""

    @abstractmethod
    def compared(self, fused: Fused) -> Features:
        """What L_con holds two frames to: vectors of length 1."""

    def decode(self, fused: Fused, size: tuple[int, int]) -> Tensor:
        """Class logits at `size` = (H, W), (B, K, H, W)."""
        return resized(self.classify(fused), size)


def as_pair_network(net: DCFM | StagedNetwork) -> PairNetwork:
    """The parts of a network; weights are shared."""
    return _PairStages(net) if isinstance(net, StagedNetwork) else _PairDcfm(net)


class _PairDcfm(PairNetwork):
    def __init__(self, net: DCFM) -> None:
        super().__init__(net)
        self._net = net

    def deep(self, independent: Independent) -> Features:
        return (self._net.encode_common(independent),)

    def fuse(self, deep: Features, independent: Independent, *, is_keyframe: bool) -> Fused:
        (common,) = deep
        return Fused((fuse(self._net, common, independent, is_keyframe=is_keyframe),))

    def classify(self, fused: Fused) -> Tensor:
        (feature,) = fused.features
        return self._net.classify(feature)

    def compared(self, fused: Fused) -> Features:
        return fused.features


class _PairStages(PairNetwork):
    """In eval mode these are the parts that the engine runs, see `ImageNetwork.to_cached`."""

    def __init__(self, net: StagedNetwork) -> None:
        super().__init__(net)
        self._net = net

    def deep(self, independent: Independent) -> Features:
        net = self._net
        return net.to_cached(run_steps(net.deep_steps(), net.start(independent)))

    def fuse(self, deep: Features, independent: Independent, *, is_keyframe: bool) -> Fused:
        return Fused(deep, independent)

    def classify(self, fused: Fused) -> Tensor:
        assert fused.independent is not None
        return self._net.decode(fused.features, fused.independent)

    def compared(self, fused: Fused) -> Features:
        return tuple(map(normalise, fused.features))


def resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinearly, as the engine does it."""
    return F.interpolate(logits, size, mode='bilinear', align_corners=False)


def halves(independent: Independent) -> tuple[Independent, Independent]:
    """Of a batch, the first frames and the others."""
    split = partial(torch.chunk, chunks=2)
    features, states = split(independent.feature), split(independent.state)
    skips = [split(skip) for skip in independent.skips]
    first, second = (
        Independent(features[i], states[i], tuple(skip[i] for skip in skips)) for i in (0, 1)
    )
    return first, second
