"""Masks and pictures at another size."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

T = TypeVar('T', bound=np.generic)


def resize_nearest(pixels: NDArray[T], size: tuple[int, ...]) -> NDArray[T]:
    """Take the pixel under the centre of each new pixel, so that no class is invented.

    Args:
        pixels: (H, W).
        size: (height, width) of the result.

    Returns:
        (height, width); `pixels` itself if that is its size.
    """
    if pixels.shape[:2] == size:
        return pixels
    # Not by OpenCV: INTER_NEAREST takes the corner, and where a centre lies between two pixels
    # INTER_NEAREST_EXACT takes one in OpenCV 4.6 and the other in 5.
    rows, columns = map(_under_centres, pixels.shape, size)
    if size[0] < pixels.shape[0]:  # first what leaves fewer pixels
        return np.take(np.take(pixels, rows, 0), columns, 1)
    return np.take(np.take(pixels, columns, 1), rows, 0)


def _under_centres(old: int, new: int) -> NDArray[np.intp]:
    """The pixel of a row of `old` under the centre of each of `new`; of two the second."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def resize_picture(pixels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resize an RGB image, (H, W, 3), to (height, width), for the eye."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
