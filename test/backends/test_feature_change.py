from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.backends.feature_change import digest, feature_change


def make_feature(seed=0, size=(10, 13)):
    return np.random.default_rng(seed).normal(size=(*size, 7)).astype(np.float32)


def test_change_of_a_feature_is_one_minus_the_mean_cosine():
    ahead = np.zeros((8, 16, 2), np.float32)
    ahead[..., 0] = 3.0
    aside, back, half = ahead[..., ::-1], -ahead, ahead.copy()
    half[:, 8:] = aside[:, 8:]
    scores = [feature_change(digest(f), digest(ahead)) for f in (ahead, aside, back, half)]
    assert scores == pytest.approx([0, 1, 2, 0.5])


def test_change_of_a_feature_does_not_depend_on_its_scale():
    one, other = make_feature(0), make_feature(1)
    score = feature_change(digest(one), digest(other))
    assert 0.5 < score < 1.5
    assert feature_change(digest(5 * one), digest(0.1 * other)) == pytest.approx(score, rel=1e-5)


def test_feature_is_compared_in_cells_of_eight_by_eight():
    feature = make_feature(0, (16, 24))
    cells = feature.reshape(2, 8, 3, 8, 7).mean((1, 3))
    expected = cells / np.linalg.norm(cells, axis=-1, keepdims=True)
    np.testing.assert_allclose(digest(feature), expected, atol=1e-6)


@pytest.mark.parametrize(
    ('size', 'cells'), [((16, 17), (2, 3)), ((9, 8), (2, 1)), ((1, 3), (1, 1))]
)
def test_cells_at_the_edge_are_of_what_is_there(size, cells):
    feature = make_feature(0, size)
    found = digest(feature)
    assert found.shape == (*cells, 7)
    last = feature[(cells[0] - 1) * 8 :, (cells[1] - 1) * 8 :].mean((0, 1))
    np.testing.assert_allclose(found[-1, -1], last / np.linalg.norm(last), atol=1e-6)


def test_nothing_stays_nothing():
    assert not digest(np.zeros((9, 9, 4), np.float32)).any()


def test_digest_survives_the_buffer_of_its_feature():
    for size in ((10, 13), (1, 1)):
        feature = make_feature(0, size)
        kept = digest(feature)
        before = kept.copy()
        feature[:] = 9
        np.testing.assert_array_equal(kept, before)
