"""Logits on the feature grid -> class mask and confidence at camera resolution.

Resizing and argmax are fused: the K x H x W map (203 MB at 124 classes, 480x853) never exists.
Shapes: K classes, h w feature grid, H W camera image.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.masks.tiles import class_mask_in_tiles, resize

_ROWS_PER_CHUNK = 64


def class_mask(logits: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class of every pixel: argmax of the bilinearly resized logits.

    Args:
        logits: (1, K, h, w), K at most 255, on any device.
        size: (H, W) of the mask.

    Returns:
        Class ids, (H, W) uint8.
    """
    if logits.is_cuda:
        if kernel := _cuda_kernel(logits.device, logits.dtype):
            return np.asarray(kernel(logits, size)[0].cpu().numpy(), np.uint8)
        resized = [chunk.argmax(dim=0).to(torch.uint8) for chunk in row_chunks(logits, size)]
        return np.asarray(torch.cat(resized).cpu().numpy(), np.uint8)
    return class_mask_in_tiles(logits[0].float().contiguous().numpy(), size)


def confidence_map(logits: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Softmax probability of the class that `class_mask` chooses.

    Args:
        logits: (1, K, h, w), on any device.
        size: (H, W) of the map.

    Returns:
        Values in (0, 1], (H, W) float32.
    """
    if logits.is_cuda:
        if kernel := _cuda_kernel(logits.device, logits.dtype):
            _, confidence = kernel(logits, size, with_confidence=True)
            return np.asarray(confidence.cpu().numpy(), np.float32)
        chunks = [chunk.softmax(dim=0).amax(dim=0) for chunk in row_chunks(logits, size)]
        return np.asarray(torch.cat(chunks).cpu().numpy(), np.float32)
    planes = logits[0].float().contiguous().numpy()
    best = np.full(size, -np.inf, np.float32)
    for plane in planes:
        cv2.max(best, resize(plane, size), best)
    total = np.zeros(size, np.float32)
    for plane in planes:
        total += cv2.exp(resize(plane, size) - best)
    return np.asarray(1.0 / total, np.float32)


@cache
def _cuda_kernel(device: torch.device, dtype: torch.dtype) -> Any:
    """`resized_argmax`, compiled; None if Triton is not installed or fails."""
    try:
        from dcfm_ros.masks.triton_kernel import resized_argmax

        logits = torch.zeros(1, 2, 2, 2, dtype=dtype, device=device)
        for with_confidence in (False, True):
            resized_argmax(logits, (4, 4), with_confidence=with_confidence)
    except Exception as error:  # no compiler, a folder without write access, an old GPU, ...
        warnings.warn(f'masks are made without Triton: {error}', stacklevel=3)
        return None
    return resized_argmax


def row_chunks(logits: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    """Resized logits in chunks of rows, (K, rows, W), one at a time; for GPUs without Triton."""
    height, width = size
    grid_height = logits.shape[-2]
    logits = logits.float()  # half precision has many ties
    wide = F.interpolate(logits, (grid_height, width), mode='bilinear', align_corners=False)[0]
    index = torch.arange(height, device=logits.device, dtype=torch.float32)
    source = ((index + 0.5) * (grid_height / height) - 0.5).clamp_(0, grid_height - 1)
    above = source.long()
    below = (above + 1).clamp_(max=grid_height - 1)
    weight = (source - above).to(logits.dtype)[:, None]
    for start in range(0, height, _ROWS_PER_CHUNK):
        rows = slice(start, start + _ROWS_PER_CHUNK)
        yield torch.lerp(wide[:, above[rows]], wide[:, below[rows]], weight[rows])
