from __future__ import annotations

from fractions import Fraction

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


@pytest.mark.parametrize(('old', 'new'), [(12, 6), (12, 5), (4, 9), (480, 1080)])
def test_of_two_pixels_beside_a_centre_the_second_is_taken(old: int, new: int) -> None:
    """OpenCV's exact interpolation takes the first in 4.6 and, mostly, the second in 5."""
    centres = [Fraction(2 * index + 1, 2) * Fraction(old, new) for index in range(new)]
    assert any(centre.denominator == 1 for centre in centres)
    row = np.arange(old, dtype=np.uint16)[None]
    assert resize_nearest(row, (1, new)).tolist() == [[int(centre) for centre in centres]]


def test_mask_of_the_right_size_is_not_copied() -> None:
    mask = np.zeros((4, 6), np.uint8)
    assert resize_nearest(mask, (4, 6)) is mask
