"""A decoder in two parts: what a keyframe settles, and what every frame computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class SplitDecoder(nn.Module):
    """A decoder whose last features are a keyframe's, and are kept as they are."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def keyframe(self, fresh: Sequence[Tensor], deep: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What later frames reuse."""
        return tuple(deep)

    def frame(self, fresh: Sequence[Tensor], cached: Sequence[Tensor]) -> Tensor:
        """Logits of a frame."""
        return self.decoder([*fresh, *cached])


def split_decoder(decoder: nn.Module, features: Sequence[Tensor], num_fresh: int) -> SplitDecoder:
    """Split a decoder behind the first `num_fresh` of its features."""
    return SplitDecoder(decoder)
