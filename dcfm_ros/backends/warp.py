"""Moving a feature along an optical flow, and blending logits with those of an earlier frame.

Shapes: C channels, K classes, H W image, h w feature grid.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

_MAX_CHANNELS = 128
"""Channels that `cv2.remap` takes at a time."""
Floats = NDArray[np.float32]


class Places(NamedTuple):
    """Where on the feature grid to sample from, for every place of it."""

    x: Floats
    """Column, (h, w)."""
    y: Floats
    """Row, (h, w)."""


def places(flow: Floats, grid: tuple[int, int]) -> Places:
    """Where the flow points on a feature grid.

    Args:
        flow: Where to sample from, relative to each pixel: (H, W, 2), x and y in its own pixels,
            of any size.
        grid: (h, w).
    """
    height, width = grid
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    shift = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * scale
    x = np.arange(width, dtype=np.float32) + shift[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + shift[..., 1]
    return Places(x, y)


def grid_of(feature: Tensor) -> tuple[int, int]:
    """(h, w) of a feature or of logits."""
    return feature.shape[-2], feature.shape[-1]


def warp(feature: Tensor, at: Places) -> Tensor:
    """Sample every vector of a feature bilinearly at other places; borders are repeated.

    Args:
        feature: (1, C, h, w), on any device.
        at: On its grid.
    """
    sample = sample_with_opencv if feature.device.type == 'cpu' else sample_with_torch
    return sample(feature.float(), at).to(feature.dtype)


def blend(logits: Tensor, earlier: Tensor, at: Places, weight: Floats) -> Tensor:
    """A weighted mean of the logits of two frames.

    Args:
        logits: (1, K, h, w), on any device.
        earlier: Of another frame.
        at: Where the content of every place was in that frame.
        weight: Of the earlier logits, (h, w), in [0, 1].

    Returns:
        (1, K, h, w), planes of their own.
    """
    if logits.device.type != 'cpu':
        share = torch.from_numpy(weight).to(logits)
        return torch.lerp(logits, warp(earlier, at).to(logits), share).contiguous()
    # Plane by plane, in this thread: waking PyTorch's others takes longer on a busy machine.
    blended = logits[0].float().numpy().copy()
    for plane, before in zip(blended, earlier[0].float().numpy(), strict=True):
        plane += weight * (sample_array(before, at) - plane)
    return torch.from_numpy(blended)[None].to(logits.dtype)


def sample_with_torch(feature: Tensor, at: Places) -> Tensor:
    """Vectors of a float32 feature at places, on its device."""
    height, width = feature.shape[-2:]
    centred = np.stack([(2 * at.x + 1) / width - 1, (2 * at.y + 1) / height - 1], -1)
    grid = torch.from_numpy(centred)[None].to(feature.device)
    sampled = F.grid_sample(feature, grid, padding_mode='border', align_corners=False)
    return sampled.contiguous(memory_format=torch.channels_last)  # as all features are stored


def sample_with_opencv(feature: Tensor, at: Places) -> Tensor:
    """The same on the CPU, in steps of 1/32 between neighbours.

    Here a vector is contiguous, which makes it ten times as fast as `grid_sample` on planes.
    """
    vectors = feature[0].permute(1, 2, 0).contiguous().numpy()
    cuts = range(_MAX_CHANNELS, vectors.shape[-1], _MAX_CHANNELS)
    parts = [sample_array(part, at) for part in np.split(vectors, cuts, -1)]
    both = np.dstack(parts) if len(parts) > 1 or parts[0].ndim == 2 else parts[0]
    return torch.from_numpy(both).permute(2, 0, 1)[None]


def sample_array(vectors: NDArray[np.generic], at: Places) -> NDArray[np.generic]:
    """Vectors of an array (h, w, C) or (h, w) at places; borders are repeated."""
    return cv2.remap(vectors, at.x, at.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
