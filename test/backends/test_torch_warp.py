"""Moving a feature along a flow, in tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dcfm_ros.backends.torch_warp import blend, sample_on_cpu, sample_on_gpu, warp
from dcfm_ros.backends.warp import Places, blend_planes, warp_vectors


def somewhere() -> Places:
    """Random places on a grid of (12, 16), some of them outside."""
    random = np.random.default_rng(0)
    return Places(*(random.uniform(-3, 18, (12, 16)).astype(np.float32) for _ in range(2)))


@pytest.mark.parametrize('stored', [torch.contiguous_format, torch.channels_last])
def test_a_tensor_moves_as_its_array_does(stored: torch.memory_format) -> None:
    feature = torch.rand(1, 40, 12, 16).to(memory_format=stored)
    moved = warp(feature, somewhere())
    expected = warp_vectors(feature[0].permute(1, 2, 0).numpy(), somewhere())
    assert moved.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(moved[0].permute(1, 2, 0).numpy(), expected)


def test_both_ways_of_taking_agree() -> None:
    feature = torch.rand(1, 40, 12, 16)
    by_torch, by_opencv = sample_on_gpu(feature, somewhere()), sample_on_cpu(feature, somewhere())
    torch.testing.assert_close(by_torch, by_opencv, atol=1 / 32, rtol=0)


def test_dtype_stays() -> None:
    assert warp(torch.rand(1, 4, 12, 16).bfloat16(), somewhere()).dtype == torch.bfloat16


@pytest.mark.parametrize('stored', [torch.contiguous_format, torch.channels_last])
def test_tensors_are_blended_as_their_arrays_are(stored: torch.memory_format) -> None:
    logits, earlier = (torch.rand(1, 3, 12, 16).to(memory_format=stored) for _ in range(2))
    before = logits.clone()
    weight = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    blended = blend(logits, earlier, somewhere(), weight)
    expected = blend_planes(logits[0].numpy(), earlier[0].numpy(), somewhere(), weight)
    np.testing.assert_array_equal(blended[0].numpy(), expected)
    assert blended.is_contiguous()
    assert torch.equal(logits, before)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_blended_in_float32(dtype: torch.dtype) -> None:
    logits, earlier = (torch.rand(1, 3, 12, 16).to(dtype) for _ in range(2))
    weight = np.full((12, 16), 0.25, np.float32)
    places = np.meshgrid(np.arange(16, dtype=np.float32), np.arange(12, dtype=np.float32))
    blended = blend(logits, earlier, Places(*places), weight)
    expected = 0.75 * logits.float() + 0.25 * earlier.float()
    assert blended.dtype == dtype
    torch.testing.assert_close(blended, expected.to(dtype))
