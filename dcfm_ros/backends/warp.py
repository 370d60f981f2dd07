"""Moving a feature along an optical flow.

Shapes: C_F common channels, h w feature grid.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

_MAX_CHANNELS = 128
"""Channels that `cv2.remap` takes at a time."""
Places = NDArray[np.float32]


def warp(feature: Tensor, flow: NDArray[np.float32]) -> Tensor:
    """Sample every vector of a feature bilinearly where the flow points; borders are repeated.

    Args:
        feature: (1, C_F, h, w), on any device.
        flow: Where to sample from, relative to each pixel: (H, W, 2), x and y in its own pixels,
            of any size.
    """
    height, width = feature.shape[-2:]
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    shift = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * scale
    x = np.arange(width, dtype=np.float32) + shift[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + shift[..., 1]
    sample = sample_with_opencv if feature.device.type == 'cpu' else sample_with_torch
    return sample(feature.float(), x, y).to(feature.dtype)


def sample_with_torch(feature: Tensor, x: Places, y: Places) -> Tensor:
    """Vectors of a float32 feature at places (h, w), on its device."""
    height, width = feature.shape[-2:]
    places = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    grid = torch.from_numpy(places)[None].to(feature.device)
    sampled = F.grid_sample(feature, grid, padding_mode='border', align_corners=False)
    return sampled.contiguous(memory_format=torch.channels_last)  # as all features are stored


def sample_with_opencv(feature: Tensor, x: Places, y: Places) -> Tensor:
    """The same on the CPU, in steps of 1/32 between neighbours.

    Here a vector is contiguous, which makes it ten times as fast as `grid_sample` on planes.
    """
    vectors = feature[0].permute(1, 2, 0).contiguous().numpy()
    cuts = range(_MAX_CHANNELS, vectors.shape[-1], _MAX_CHANNELS)
    parts = [
        cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in np.split(vectors, cuts, -1)
    ]
    both = np.dstack(parts) if len(parts) > 1 or parts[0].ndim == 2 else parts[0]
    return torch.from_numpy(both).permute(2, 0, 1)[None]
