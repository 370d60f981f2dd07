from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcfm_ros.masks.class_mask import class_mask, confidence_map, row_chunks

CASES = [(2, (8, 10), (33, 41)), (11, (90, 120), (360, 480)), (150, (9, 7), (131, 65))]


def logits_and_resized(num_classes, grid, size):
    torch.manual_seed(num_classes)
    logits = torch.randn(1, num_classes, *grid)
    return logits, F.interpolate(logits, size, mode='bilinear', align_corners=False)[0]


@pytest.mark.parametrize(('num_classes', 'grid', 'size'), CASES)
def test_class_mask_is_the_argmax_of_the_resized_logits(num_classes, grid, size):
    logits, resized = logits_and_resized(num_classes, grid, size)
    best = resized.topk(2, dim=0).values
    is_clear = (best[0] - best[1] > 1e-5).numpy()
    mask = class_mask(logits, size)
    assert mask.dtype == np.uint8
    assert is_clear.mean() > 0.999
    np.testing.assert_array_equal(mask[is_clear], resized.argmax(0).numpy()[is_clear])


@pytest.mark.parametrize(('num_classes', 'grid', 'size'), CASES)
def test_confidence_is_the_softmax_of_the_chosen_class(num_classes, grid, size):
    logits, resized = logits_and_resized(num_classes, grid, size)
    expected = resized.softmax(0).amax(0).numpy()
    np.testing.assert_allclose(confidence_map(logits, size), expected, rtol=1e-4)


@pytest.mark.parametrize(('num_classes', 'grid', 'size'), CASES)
def test_row_chunks_that_a_gpu_uses_are_the_resized_logits(num_classes, grid, size):
    logits, resized = logits_and_resized(num_classes, grid, size)
    chunks = list(row_chunks(logits, size))
    assert max(chunk.shape[1] for chunk in chunks) <= 64
    torch.testing.assert_close(torch.cat(chunks, dim=1), resized, atol=1e-5, rtol=1e-5)
