from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcfm_ros.backends import torch_masks
from dcfm_ros.masks import class_mask as on_cpu

CASES = [(2, (8, 10), (33, 41)), (11, (90, 120), (360, 480)), (150, (9, 7), (131, 65))]


@pytest.mark.parametrize(('num_classes', 'grid', 'size'), CASES)
def test_row_chunks_that_a_gpu_uses_are_the_resized_logits(num_classes, grid, size):
    torch.manual_seed(num_classes)
    logits = torch.randn(1, num_classes, *grid)
    resized = F.interpolate(logits, size, mode='bilinear', align_corners=False)[0]
    chunks = list(torch_masks.row_chunks(logits, size))
    assert max(chunk.shape[1] for chunk in chunks) <= 64
    torch.testing.assert_close(torch.cat(chunks, dim=1), resized, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('stored', [torch.contiguous_format, torch.channels_last])
def test_tensors_on_the_cpu_have_the_masks_of_their_arrays(stored, dtype):
    logits = torch.randn(1, 5, 12, 16).to(dtype, memory_format=stored)
    planes = logits[0].float().numpy()
    for of_tensor, of_array in (
        (torch_masks.class_mask, on_cpu.class_mask),
        (torch_masks.confidence_map, on_cpu.confidence_map),
    ):
        np.testing.assert_array_equal(of_tensor(logits, (35, 50)), of_array(planes, (35, 50)))
