from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dcfm_ros.masks.class_mask import class_mask, confidence_map

CASES = [(2, (8, 10), (33, 41)), (11, (90, 120), (360, 480)), (150, (9, 7), (131, 65))]


def planes_and_resized(num_classes, grid, size):
    torch.manual_seed(num_classes)
    logits = torch.randn(1, num_classes, *grid)
    resized = F.interpolate(logits, size, mode='bilinear', align_corners=False)[0]
    return logits[0].numpy(), resized


@pytest.mark.parametrize(('num_classes', 'grid', 'size'), CASES)
def test_class_mask_is_the_argmax_of_the_resized_logits(num_classes, grid, size):
    planes, resized = planes_and_resized(num_classes, grid, size)
    best = resized.topk(2, dim=0).values
    is_clear = (best[0] - best[1] > 1e-5).numpy()
    mask = class_mask(planes, size)
    assert mask.dtype == np.uint8
    assert is_clear.mean() > 0.999
    np.testing.assert_array_equal(mask[is_clear], resized.argmax(0).numpy()[is_clear])


@pytest.mark.parametrize(('num_classes', 'grid', 'size'), CASES)
def test_confidence_is_the_softmax_of_the_chosen_class(num_classes, grid, size):
    planes, resized = planes_and_resized(num_classes, grid, size)
    expected = resized.softmax(0).amax(0).numpy()
    np.testing.assert_allclose(confidence_map(planes, size), expected, rtol=1e-4)


def test_planes_may_be_of_any_float_and_order():
    planes, _ = planes_and_resized(*CASES[0])
    for given in (planes.astype(np.float64), np.asfortranarray(planes)):
        np.testing.assert_array_equal(class_mask(given, (33, 41)), class_mask(planes, (33, 41)))


@pytest.mark.parametrize('shape', [(1, 3, 4, 4), (4, 4), (0, 4, 4), (256, 4, 4)])
@pytest.mark.parametrize('function', [class_mask, confidence_map])
def test_what_is_no_stack_of_planes_is_refused(function, shape):
    with pytest.raises(ValueError, match=r'`planes` must be \(K, h, w\) of 1 to 255 classes'):
        function(np.zeros(shape, np.float32), (8, 8))
