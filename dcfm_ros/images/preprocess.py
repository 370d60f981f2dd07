"""The camera's image -> the image that the network works on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_LITTLE = 1.5
"""Factor up to which an image is shrunk a little."""


def check_image(image: NDArray[np.uint8]) -> None:
    """Raise ValueError unless the image is RGB, uint8, (H, W, 3), with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        shape = getattr(image, 'shape', type(image).__name__)
        raise ValueError(f'`image` must be an array of shape (H, W, 3), got {shape}')
    if image.dtype != np.uint8:
        raise ValueError(f'`image` must be uint8, got {image.dtype}')
    if image.size == 0:
        raise ValueError(f'`image` must have at least one pixel, got shape {image.shape}')


def shrink(image: NDArray[np.uint8], height: int, multiple: int = 1) -> NDArray[np.uint8]:
    """Shrink an image to `height` rows, aspect kept; unchanged if it has no more or that is 0.

    Args:
        image: RGB, (H, W, 3).
        height: Rows.
        multiple: Rows and columns then become the nearest multiple of this, at least one.
    """
    rows, columns = image.shape[:2]
    target = (columns, rows)
    if 0 < height < rows:
        target = (max(1, round(columns * height / rows)), height)
    target = nearest_multiple(target[0], multiple), nearest_multiple(target[1], multiple)
    if target == (columns, rows):
        return np.ascontiguousarray(image)
    # Up to that factor two pixels cover what the mean of an area covers, in a fifth of the time.
    is_little = rows <= _LITTLE * target[1]
    how = cv2.INTER_LINEAR if is_little else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, target, interpolation=how), np.uint8)


def nearest_multiple(length: int, multiple: int) -> int:
    """The multiple that is nearest to a length, at least one."""
    return max(1, round(length / multiple)) * multiple
