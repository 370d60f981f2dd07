"""Moving a feature along a flow, in arrays."""

from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.backends.warp import Places, blend_planes, places, warp_vectors

RANDOM = np.random.default_rng(0)


def flow_of(x: float, y: float, height: int = 12, width: int = 16) -> Places:
    """Places on a grid of (12, 16) for a uniform flow, of a size of its own."""
    flow = np.broadcast_to(np.array([x, y], np.float32), (height, width, 2)).copy()
    return places(flow, (12, 16))


def random(*shape: int) -> np.ndarray:
    return RANDOM.random(shape, np.float32)


def test_flow_says_from_where_to_take() -> None:
    feature = np.arange(12.0 * 16, dtype=np.float32).reshape(12, 16, 1)
    moved = warp_vectors(feature, flow_of(2, 1))
    np.testing.assert_allclose(moved[:-1, :-2], feature[1:, 2:])


def test_flow_is_scaled_to_the_grid() -> None:
    feature = random(12, 16, 3)
    moved = warp_vectors(feature, flow_of(4, 0, 24, 64))
    np.testing.assert_allclose(moved[:, :-1], feature[:, 1:], atol=1e-5)


def test_edge_goes_on_outside() -> None:
    feature = random(12, 16, 2)
    moved = warp_vectors(feature, flow_of(100, 0))
    np.testing.assert_allclose(moved, np.broadcast_to(feature[:, -1:], feature.shape))


def test_places_between_are_bilinear() -> None:
    feature = random(12, 16, 5)
    moved = warp_vectors(feature, flow_of(0.25, 0))[:, :-1]
    np.testing.assert_allclose(moved, 0.75 * feature[:, :-1] + 0.25 * feature[:, 1:], atol=1e-5)


@pytest.mark.parametrize('channels', [1, 2, 128, 129, 300])
def test_every_channel_moves(channels: int) -> None:
    feature = random(12, 16, channels)
    moved = warp_vectors(feature, flow_of(1, 0))
    assert moved.shape == feature.shape
    np.testing.assert_allclose(moved[:, :-1], feature[:, 1:])


def test_blend_weighs_every_place_by_itself() -> None:
    logits, earlier = random(3, 12, 16), random(3, 12, 16)
    before = logits.copy()
    weight = np.linspace(0, 1, 12 * 16, dtype=np.float32).reshape(12, 16)
    blended = blend_planes(logits, earlier, flow_of(1, 0), weight)
    moved = warp_vectors(earlier.transpose(1, 2, 0), flow_of(1, 0)).transpose(2, 0, 1)
    np.testing.assert_allclose(blended, (1 - weight) * logits + weight * moved, rtol=1e-5)
    np.testing.assert_array_equal(logits, before)


def test_blended_logits_are_contiguous_planes_of_their_own() -> None:
    logits, nothing = random(12, 16, 3).transpose(2, 0, 1), np.zeros((12, 16), np.float32)
    blended = blend_planes(logits, logits, flow_of(0, 0), nothing)
    assert blended.flags.c_contiguous
    assert not np.shares_memory(blended, logits)
    np.testing.assert_array_equal(blended, logits)
