from __future__ import annotations

import numpy as np
import pytest

from dcfm_ros.masks.png import mask_to_png, png_to_mask


@pytest.mark.parametrize('shape', [(1, 1), (7, 13), (480, 640)])
def test_mask_survives_its_png(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    png = mask_to_png(mask)
    np.testing.assert_array_equal(png_to_mask(png.tobytes()), mask)
    assert png.dtype == np.uint8


def test_png_of_a_mask_is_small() -> None:
    rows, columns = np.mgrid[:480, :640]
    mask = ((rows // 60 + columns // 80) % 11).astype(np.uint8)
    assert len(mask_to_png(mask)) < 6000
