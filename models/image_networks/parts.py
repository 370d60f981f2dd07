"""What the builders of the libraries hand over: an encoder as lists of steps, and a decoder.

Shapes: B batch, C channels, h w the grid of a stage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

TensorStep = Callable[[Tensor], Tensor]
Stage = list[TensorStep]
"""Run one after another; what the last one gives, (B, C, h, w), is a feature of the encoder and
what the next stage starts from."""


class Parts(NamedTuple):
    """A network for single images."""

    encoder: nn.Module
    """Holds the weights of the stages."""
    stages: list[Stage]
    """Finest first; the first one takes a normalised image, (B, 3, H, W)."""
    decoder: nn.Module
    """Takes one list, the features of the stages in `used`, finest first -> logits."""
    used: tuple[int, ...]
    """Which stages' features the decoder looks at."""
    num_before: int = 0
    """Stages finer than stride 4, which run on every frame whatever the cut."""


def to_channels_last(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h, w, C)."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(x: Tensor) -> Tensor:
    """(B, h, w, C) -> (B, C, h, w)."""
    return x.permute(0, 3, 1, 2)
