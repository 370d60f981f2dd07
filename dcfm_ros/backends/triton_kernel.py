"""Resizing, argmax and confidence in one CUDA kernel: reads the logits once, writes the mask.

Shapes: K classes, h w feature grid, H W camera image.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
import triton
import triton.language as tl

_BLOCK = 128
"""Pixels of a row per program."""


def resized_argmax(
    logits: Tensor, size: tuple[int, int], *, with_confidence: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Class of every pixel, and its probability, of bilinearly resized logits.

    Args:
        logits: (1, K, h, w), any strides, float32, float16 or bfloat16; K at most 255.
        size: (H, W).
        with_confidence: Also compute the probability of the chosen class.

    Returns:
        Class ids, (H, W) uint8, and probabilities, (H, W) float32, or None.
    """
    _, num_classes, grid_height, grid_width = logits.shape
    height, width = size
    mask = torch.empty(size, dtype=torch.uint8, device=logits.device)
    confidence = torch.empty(size if with_confidence else (1, 1), device=logits.device)
    # Triton launches on the current device, wherever its arguments are.
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _kernel[(height, triton.cdiv(width, _BLOCK))](
            logits,
            mask,
            confidence,
            num_classes,
            grid_height,
            grid_width,
            width,
            *logits.stride()[1:],
            grid_height / height,
            grid_width / width,
            with_confidence=with_confidence,
            block=_BLOCK,
        )
    return mask, confidence if with_confidence else None


# Compiled for any size, so that the first frame of another camera does not wait for it.
@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=[
        'num_classes', 'grid_height', 'grid_width', 'width', 'stride_class', 'stride_row',
    ]
)  # fmt: skip
def _kernel(
    logits: Any,
    mask: Any,
    confidence: Any,
    num_classes: Any,
    grid_height: Any,
    grid_width: Any,
    width: Any,
    stride_class: Any,
    stride_row: Any,
    stride_column: Any,
    rows_per_row: Any,
    columns_per_column: Any,
    with_confidence: tl.constexpr,
    block: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    # Pixel centres at half, borders repeated: align_corners=False.
    y = tl.maximum((row + 0.5) * rows_per_row - 0.5, 0.0)
    x = tl.maximum((columns.to(tl.float32) + 0.5) * columns_per_column - 0.5, 0.0)
    top = tl.minimum(y.to(tl.int32), grid_height - 1)
    left = tl.minimum(x.to(tl.int32), grid_width - 1)
    bottom = tl.minimum(top + 1, grid_height - 1)
    right = tl.minimum(left + 1, grid_width - 1)
    below = y - top
    beside = x - left
    best = tl.full((block,), float('-inf'), tl.float32)
    chosen = tl.zeros((block,), tl.int32)
    total = tl.zeros((block,), tl.float32)
    for index in range(num_classes):
        plane = logits + index * stride_class
        above_row = plane + top * stride_row
        below_row = plane + bottom * stride_row
        a = tl.load(above_row + left * stride_column, mask=inside, other=0.0).to(tl.float32)
        b = tl.load(above_row + right * stride_column, mask=inside, other=0.0).to(tl.float32)
        c = tl.load(below_row + left * stride_column, mask=inside, other=0.0).to(tl.float32)
        d = tl.load(below_row + right * stride_column, mask=inside, other=0.0).to(tl.float32)
        upper = a + (b - a) * beside
        lower = c + (d - c) * beside
        value = upper + (lower - upper) * below
        is_better = value > best
        if with_confidence:  # softmax of the best class so far, rescaled when another is better
            grown = tl.maximum(best, value)
            total = total * tl.exp(best - grown) + tl.exp(value - grown)
        chosen = tl.where(is_better, index, chosen)
        best = tl.where(is_better, value, best)
    place = row * width + columns
    tl.store(mask + place, chosen.to(tl.uint8), mask=inside)
    if with_confidence:
        tl.store(confidence + place, 1.0 / total, mask=inside)
