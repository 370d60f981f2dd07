"""Class mask and confidence of logits that are tensors, on whatever device they are.

On the CPU they are those of `masks`; a GPU makes them itself, since a mask is smaller to fetch
than its logits. Shapes: K classes, h w feature grid, H W camera image.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.masks import class_mask as on_cpu

_ROWS_PER_CHUNK = 64


def class_mask(logits: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """See `Backend.class_mask`; K at most 255."""
    if not logits.is_cuda:
        return on_cpu.class_mask(_planes(logits), size)
    if kernel := _cuda_kernel(logits.device, logits.dtype):
        return np.asarray(kernel(logits, size)[0].cpu().numpy(), np.uint8)
    resized = [chunk.argmax(dim=0).to(torch.uint8) for chunk in row_chunks(logits, size)]
    return np.asarray(torch.cat(resized).cpu().numpy(), np.uint8)


def confidence_map(logits: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """See `Backend.confidence_map`."""
    if not logits.is_cuda:
        return on_cpu.confidence_map(_planes(logits), size)
    if kernel := _cuda_kernel(logits.device, logits.dtype):
        _, confidence = kernel(logits, size, with_confidence=True)
        return np.asarray(confidence.cpu().numpy(), np.float32)
    chunks = [chunk.softmax(dim=0).amax(dim=0) for chunk in row_chunks(logits, size)]
    return np.asarray(torch.cat(chunks).cpu().numpy(), np.float32)


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


def _planes(logits: Tensor) -> NDArray[np.float32]:
    return np.asarray(logits[0].float().contiguous().numpy(), np.float32)


@cache
def _cuda_kernel(device: torch.device, dtype: torch.dtype) -> Any:
    """`resized_argmax`, compiled; None if Triton is not installed or fails."""
    try:
        from dcfm_ros.backends.triton_kernel import resized_argmax

        logits = torch.zeros(1, 2, 2, 2, dtype=dtype, device=device)
        for with_confidence in (False, True):
            resized_argmax(logits, (4, 4), with_confidence=with_confidence)
    except Exception as error:  # no compiler, a folder without write access, an old GPU, ...
        warnings.warn(f'masks are made without Triton: {error}', stacklevel=3)
        return None
    return resized_argmax
