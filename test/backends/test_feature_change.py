from __future__ import annotations

import pytest
import torch

from dcfm_ros.backends.feature_change import digest, feature_change


def make_feature(seed=0, size=(10, 13)):
    return torch.randn(1, 7, *size, generator=torch.Generator().manual_seed(seed))


def test_change_of_a_feature_is_one_minus_the_mean_cosine():
    ahead = torch.zeros(1, 2, 8, 16)
    ahead[:, 0] = 3.0
    aside, back, half = ahead.flip(1), -ahead, ahead.clone()
    half[..., 8:] = aside[..., 8:]
    scores = [feature_change(digest(f), digest(ahead)) for f in (ahead, aside, back, half)]
    assert scores == pytest.approx([0, 1, 2, 0.5])


def test_change_of_a_feature_does_not_depend_on_its_scale():
    one, other = make_feature(0), make_feature(1)
    score = feature_change(digest(one), digest(other))
    assert 0.5 < score < 1.5
    assert feature_change(digest(5 * one), digest(0.1 * other)) == pytest.approx(score, rel=1e-5)


def test_feature_is_compared_in_cells_of_eight_by_eight():
    feature = make_feature(0, (16, 24))
    cells = feature.unflatten(3, (3, 8)).unflatten(2, (2, 8)).mean((3, 5))
    expected = cells / cells.norm(dim=1, keepdim=True)
    torch.testing.assert_close(digest(feature), expected)
    assert digest(make_feature(0, (16, 17))).shape[-2:] == (2, 3)
