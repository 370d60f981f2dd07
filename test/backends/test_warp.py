"""Moving a feature along a flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dcfm_ros.backends.warp import (
    Places,
    blend,
    places,
    sample_with_opencv,
    sample_with_torch,
    warp,
)


def flow_of(x: float, y: float, height: int = 12, width: int = 16) -> Places:
    """Places on a grid of (12, 16) for a uniform flow, of a size of its own."""
    flow = np.broadcast_to(np.array([x, y], np.float32), (height, width, 2)).copy()
    return places(flow, (12, 16))


def test_flow_says_from_where_to_take() -> None:
    feature = torch.arange(12.0 * 16).reshape(1, 1, 12, 16)
    moved = warp(feature, flow_of(2, 1))
    torch.testing.assert_close(moved[..., :-1, :-2], feature[..., 1:, 2:])


def test_flow_is_scaled_to_the_grid() -> None:
    feature = torch.rand(1, 3, 12, 16)
    moved = warp(feature, flow_of(4, 0, 24, 64))
    torch.testing.assert_close(moved[..., :-1], feature[..., 1:], atol=1e-5, rtol=0)


def test_edge_goes_on_outside() -> None:
    feature = torch.rand(1, 2, 12, 16)
    moved = warp(feature, flow_of(100, 0))
    torch.testing.assert_close(moved, feature[..., -1:].expand_as(feature))


def test_places_between_are_bilinear() -> None:
    feature = torch.rand(1, 5, 12, 16)
    moved = warp(feature, flow_of(0.25, 0))[..., :-1]
    expected = 0.75 * feature[..., :-1] + 0.25 * feature[..., 1:]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('channels', [1, 2, 128, 129, 300])
def test_every_channel_moves(channels: int) -> None:
    feature = torch.rand(1, channels, 12, 16)
    moved = warp(feature, flow_of(1, 0))
    assert moved.shape == feature.shape
    torch.testing.assert_close(moved[..., :-1], feature[..., 1:])


def test_both_ways_of_taking_agree() -> None:
    feature = torch.rand(1, 40, 12, 16)
    random = np.random.default_rng(0)
    at = Places(*(random.uniform(-3, 18, (12, 16)).astype(np.float32) for _ in range(2)))
    by_torch, by_opencv = sample_with_torch(feature, at), sample_with_opencv(feature, at)
    torch.testing.assert_close(by_torch, by_opencv, atol=1 / 32, rtol=0)


def test_dtype_stays() -> None:
    assert warp(torch.rand(1, 4, 12, 16).bfloat16(), flow_of(0, 0)).dtype == torch.bfloat16


def test_blend_weighs_every_place_by_itself() -> None:
    logits, earlier = torch.rand(1, 3, 12, 16), torch.rand(1, 3, 12, 16)
    before = logits.clone()
    weight = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    blended = blend(logits, earlier, flow_of(1, 0), weight)
    share, moved = torch.from_numpy(weight), warp(earlier, flow_of(1, 0))
    torch.testing.assert_close(blended, (1 - share) * logits + share * moved)
    assert blended.is_contiguous()
    assert torch.equal(logits, before)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_blended_in_float32(dtype: torch.dtype) -> None:
    logits, earlier = (torch.rand(1, 3, 12, 16).to(dtype) for _ in range(2))
    weight = np.full((12, 16), 0.25, np.float32)
    blended = blend(logits, earlier, flow_of(0, 0), weight)
    expected = 0.75 * logits.float() + 0.25 * earlier.float()
    assert blended.dtype == dtype
    torch.testing.assert_close(blended, expected.to(dtype))
