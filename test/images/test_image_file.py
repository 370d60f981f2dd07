"""Images that are written are those that are read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dcfm_ros.images.image_file import write_image


@pytest.mark.parametrize('shape', [(4, 6), (4, 6, 3)])
def test_png_has_the_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    write_image(tmp_path / 'a.png', pixels)
    assert np.array_equal(cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED), pixels)
    if len(shape) == 3:
        write_image(tmp_path / 'b.png', pixels[..., ::-1])
        assert np.array_equal(cv2.imread(str(tmp_path / 'b.png')), pixels[..., ::-1])


def test_jpeg_is_close(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 128, 2, dtype=np.uint8), (32, 1))
    write_image(tmp_path / 'a.jpg', ramp)
    found = cv2.imread(str(tmp_path / 'a.jpg'), cv2.IMREAD_UNCHANGED)
    assert np.abs(found.astype(int) - ramp).max() < 5


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match='absent'):
        write_image(tmp_path / 'absent' / 'a.png', np.zeros((2, 2), np.uint8))
