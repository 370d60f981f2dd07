from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.masks.resize import resize_nearest


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_pixel_under_the_centre_is_taken(dtype: type) -> None:
    pixels = np.arange(15, dtype=dtype).reshape(3, 5)
    found = resize_nearest(pixels, (1, 3))
    # Centres of the three columns lie at 0.83, 2.5 and 4.17 pixels, of the row at 1.5.
    assert found.tolist() == [[5, 7, 9]]
    assert found.dtype == dtype


@pytest.mark.parametrize('size', [(33, 77), (300, 250), (1, 1), (99, 131)])
def test_resizing_agrees_with_centres_and_invents_no_class(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).choice(np.array([0, 3, 255], np.uint8), (99, 131))
    rows = ((np.arange(size[0]) + 0.5) * 99 / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * 131 / size[1]).astype(int)
    np.testing.assert_array_equal(resize_nearest(mask, size), mask[np.ix_(rows, columns)])


def test_mask_of_the_right_size_is_not_copied() -> None:
    mask = np.zeros((4, 6), np.uint8)
    assert resize_nearest(mask, (4, 6)) is mask
