"""Feature fusion: common feature of a keyframe + independent feature of the frame (Eq. 3).

Shapes: B batch, C_F common channels, C_f independent channels, h w common grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
import torch.nn.functional as F


class FeatureFusion(nn.Module):
    """ReLU(BN(Conv1x1([common ; first half of independent]))), no residual, no attention.

    Dropping half of the independent channels is the paper's way to keep the short path from
    taking over the training; nothing is detached.
    """

    def __init__(self, common_channels: int, independent_channels: int) -> None:
        super().__init__()
        self.kept_channels = independent_channels // 2
        self.conv = nn.Conv2d(common_channels + self.kept_channels, common_channels, 1)
        self.norm = nn.BatchNorm2d(common_channels)

    def forward(self, common: Tensor, independent: Tensor) -> Tensor:
        """Fuse two normalised features of the same grid.

        Args:
            common: (B, C_F, h, w).
            independent: (B, C_f, h, w), all channels; the first half is used.

        Returns:
            (B, C_F, h, w), not yet normalised.
        """
        both = torch.cat([common, independent[:, : self.kept_channels]], dim=1)
        return F.relu(self.norm(self.conv(both)))


def align(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize to the common feature's grid (bilinear); no-op where the grids are equal."""
    if feature.shape[-2:] == torch.Size(size):
        return feature
    return F.interpolate(feature, size, mode='bilinear', align_corners=False)
