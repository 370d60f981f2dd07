"""`warp` for features and logits that are tensors, on whatever device they are.

Shapes: C channels, K classes, h w feature grid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.warp import Floats, Places, blend_planes, warp_vectors


def warp(feature: Tensor, at: Places) -> Tensor:
    """See `Backend.warp`; (1, C, h, w), stored channels last."""
    sample = sample_on_cpu if feature.device.type == 'cpu' else sample_on_gpu
    return sample(feature.float(), at).to(feature.dtype)


def blend(logits: Tensor, earlier: Tensor, at: Places, weight: Floats) -> Tensor:
    """See `Backend.blend`; (1, K, h, w), planes of their own."""
    if logits.device.type != 'cpu':
        share = torch.from_numpy(weight).to(logits)
        return torch.lerp(logits, warp(earlier, at).to(logits), share).contiguous()
    # Plane by plane, in this thread: waking PyTorch's others takes longer on a busy machine.
    planes, before = (given[0].float().numpy() for given in (logits, earlier))
    return torch.from_numpy(blend_planes(planes, before, at, weight))[None].to(logits.dtype)


def sample_on_gpu(feature: Tensor, at: Places) -> Tensor:
    """Vectors of a float32 feature at places, on its device."""
    height, width = feature.shape[-2:]
    centred = np.stack([(2 * at.x + 1) / width - 1, (2 * at.y + 1) / height - 1], -1)
    grid = torch.from_numpy(centred)[None].to(feature.device)
    sampled = F.grid_sample(feature, grid, padding_mode='border', align_corners=False)
    return sampled.contiguous(memory_format=torch.channels_last)  # as all features are stored


def sample_on_cpu(feature: Tensor, at: Places) -> Tensor:
    """The same on the CPU, in steps of 1/32 between neighbours.

    Here a vector is contiguous, which makes it ten times as fast as `grid_sample` on planes.
    """
    vectors = feature[0].permute(1, 2, 0).contiguous().numpy()
    return torch.from_numpy(warp_vectors(vectors, at)).permute(2, 0, 1)[None]
