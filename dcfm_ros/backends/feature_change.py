"""How much the independent features of two frames differ.

Shapes: C_f independent channels, h w feature grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
import torch.nn.functional as F

_CELL = 8


@torch.inference_mode()
def digest(feature: Tensor) -> Tensor:
    """What is kept of an independent feature: its direction in every cell of 8 x 8 positions.

    Smaller cells predict the loss in accuracy less well (see docs/adaptive_keyframes.md).

    Args:
        feature: Raw, (1, C_f, h, w).

    Returns:
        Mean over the cell, divided by its L2 norm, (1, C_f, h / 8, w / 8) rounded up.
    """
    cells = F.avg_pool2d(feature.float(), _CELL, ceil_mode=True)
    return F.normalize(cells, dim=1)


@torch.inference_mode()
def feature_change(cells: Tensor, keyframe: Tensor) -> float:
    """How much two digests differ: 1 minus the mean cosine of the cells, in [0, 2]."""
    return max(0.0, 1 - float((cells * keyframe).sum(1).mean()))  # rounding may go below 0
