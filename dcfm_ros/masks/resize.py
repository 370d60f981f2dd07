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
    # The plain INTER_NEAREST takes the corner, which shifts the mask by up to half a pixel.
    resized = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, pixels.dtype)


def resize_picture(pixels: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """Resize an RGB image, (H, W, 3), to (height, width), for the eye."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
