"""`PairMotion`: moves features of reference frames as the engine moves those of keyframes.

Shapes: B batch, C channels, H W image, h w feature grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dcfm_ros.backends.torch_warp import sample_on_gpu
from dcfm_ros.backends.warp import Places
from dcfm_ros.keyframes.motion import OpticalFlow, Picture


class PairMotion:
    """Where the content of labelled frames is in their reference frames.

    By the engine's own optical flow, so that a training sees the features that the robot will
    see: moved, and wrong where the flow is.
    """

    def __init__(self, reference: Tensor, labelled: Tensor) -> None:
        """Take a batch of pairs: uint8 RGB, (B, 3, H, W) each, on any device."""
        self._flow = OpticalFlow()
        self._then = self._pictures(reference)
        self._now = self._pictures(labelled)
        self._places: dict[tuple[int, int], list[Places | None]] = {}

    def align(self, features: Tensor) -> Tensor:
        """Move features of the reference frames to where their content is in the labelled ones.

        As `Backend.warp`, but differentiable.

        Args:
            features: (B, C, h, w), on any device.

        Returns:
            (B, C, h, w); those of pairs that are too small for the flow are not moved.
        """
        found = self._places_on((features.shape[-2], features.shape[-1]))
        moved = [
            sample_on_gpu(feature.float(), at).to(feature.dtype) if at else feature
            for feature, at in zip(features.chunk(len(features)), found, strict=True)
        ]
        return torch.cat(moved)

    def _places_on(self, grid: tuple[int, int]) -> list[Places | None]:
        """Of every pair, computed once: all that is moved usually lies on one grid."""
        if grid not in self._places:
            self._places[grid] = [
                self._flow.places(then, now, grid)
                for then, now in zip(self._then, self._now, strict=True)
            ]
        return self._places[grid]

    def _pictures(self, images: Tensor) -> list[Picture]:
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        return [self._flow.picture(array) for array in arrays]
