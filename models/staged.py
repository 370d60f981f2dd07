"""`StagedNetwork`: a network in the three parts that an engine runs, whoever trained it.

Shapes: B batch, K classes, H W image; every feature is (B, C, h, w) on a grid of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.config import Configured, NetworkConfig

Step = Callable[[Any], Any]
"""Part of the deep encoder: from what the step before it has left to what the next one takes."""


class StagedNetwork(nn.Module, Configured, ABC):
    """A segmentation network, cut so that its deep part runs on keyframes only.

    Every frame runs `encode_independent` and `decode`; a keyframe also runs `start`, `deep_steps`
    and `to_cached` between them. What these return is moved along the optical flow and passed to
    `decode` together with what a later frame's own shallow encoder has found. In eval mode, all
    three for one frame must give the logits of the whole network.

    Backends replace modules in a copy of it, so steps must look theirs up when they run.
    """

    least_size = 64
    """Rows and columns of the smallest image that it can take; one is run before any frame."""
    config: NetworkConfig
    """Class names, colours, normalisation, and all that is needed to build the network again."""
    mean: Tensor
    """Subtracted from R, G and B in [0, 1], (1, 3, 1, 1); a buffer that is not persistent."""
    std: Tensor
    """What the difference is divided by, (1, 3, 1, 1); as `mean`."""

    @abstractmethod
    def shallow(self, image: Tensor) -> Independent:
        """Run the shallow encoder on a normalised image, (B, 3, H, W)."""

    @abstractmethod
    def start(self, independent: Independent) -> Any:
        """What the first deep step takes."""

    @abstractmethod
    def deep_steps(self) -> Sequence[Step]:
        """The deep encoder, in steps as short as the network allows."""

    @abstractmethod
    def to_cached(self, deep: Any) -> tuple[Tensor, ...]:
        """What the last step has left -> what frames reuse: one feature or several.

        All that does not depend on the content of a later frame is done here.
        """

    @abstractmethod
    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """Class logits of a frame, (B, K, h, w), which are resized bilinearly to its mask.

        Args:
            cached: Of a keyframe, from `to_cached`.
            independent: Of the frame itself.
        """

    def decode_all(self, cached: Sequence[Sequence[Tensor]], independent: Independent) -> Tensor:
        """The mean of the logits with one keyframe or more (Eq. 7)."""
        return mean([self.decode(one, independent) for one in cached])

    def freeze(self) -> None:  # most have nothing of the kind
        """Called once before inference: the weights will not change any more."""

    @property
    def foldable(self) -> nn.Module:
        """The part whose batch norms may be folded into the convolutions before them."""
        return self

    def encode_independent(self, image: Tensor) -> Independent:
        """Run the shallow encoder on RGB in [0, 1], (B, 3, H, W)."""
        mean, std = self.mean.to(image.dtype), self.std.to(image.dtype)
        return self.shallow((image - mean) / std)


def mean(maps: Sequence[Tensor]) -> Tensor:
    """Of one tensor or several of one shape."""
    # Not stacked: that would change their memory layout.
    return maps[0] if len(maps) == 1 else reduce(torch.add, maps) / len(maps)
