"""Class masks as colours: alone, over the camera image, and with a caption for videos."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]


def colorize(mask: NDArray[np.uint8], palette: Sequence[RGB]) -> NDArray[np.uint8]:
    """Turn class ids into colours.

    Args:
        mask: Class ids, shape (H, W). An id without a palette entry, such as 255, becomes black.
        palette: RGB colour of each class id, at most 256 entries.

    Returns:
        RGB image, shape (H, W, 3).

    Raises:
        ValueError: If the mask is not uint8 (H, W) or the palette does not fit into one byte.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f'`mask` must be uint8 (H, W), got {mask.dtype} {mask.shape}')
    if not 1 <= len(palette) <= 256:
        raise ValueError(f'`palette` must have 1 to 256 colours, got {len(palette)}')
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    colour: NDArray[np.uint8] = table[mask]
    return colour


def with_mixtures(palette: Sequence[RGB], sets: Sequence[Sequence[int]]) -> tuple[RGB, ...]:
    """Add to the colours of classes one for each set of classes: the mean of theirs."""
    colours = np.array(palette, np.float64)
    means = [colours[list(classes)].mean(axis=0) for classes in sets]
    return (*palette, *((round(red), round(green), round(blue)) for red, green, blue in means))


def blend(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    palette: Sequence[RGB],
    alpha: float = 0.5,
) -> NDArray[np.uint8]:
    """Lay the class colours over an image.

    Args:
        image: RGB image, shape (H, W, 3).
        mask: Class ids, shape (H, W). Where an id has no palette entry, such as 255, the image
            is kept.
        palette: RGB colour of each class id, at most 256 entries.
        alpha: Weight of the class colour, in [0, 1].

    Returns:
        RGB image, shape (H, W, 3); the input is not changed.

    Raises:
        ValueError: If shapes or types do not fit, or `alpha` is outside [0, 1].
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f'`alpha` must be in [0, 1], got {alpha}')
    colour = colorize(mask, palette)
    if image.dtype != np.uint8 or image.shape != colour.shape:
        raise ValueError(
            f'`image` must be uint8 of shape {colour.shape}, got {image.dtype} {image.shape}'
        )
    mixed = cv2.addWeighted(image, 1.0 - alpha, colour, alpha, 0.0)
    if len(palette) <= int(mask.max(initial=0)):
        mixed = np.where((mask < len(palette))[..., None], mixed, image)
    return np.asarray(mixed, dtype=np.uint8)


def draw_caption(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Write one line of text on a dark strip along the top edge.

    Args:
        image: RGB image, shape (H, W, 3).
        text: ASCII text; smaller if the image is too narrow for it.

    Returns:
        RGB image, shape (H, W, 3); the input is not changed.

    Raises:
        ValueError: If the image is not uint8 (H, W, 3).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'`image` must be uint8 (H, W, 3), got {image.dtype} {image.shape}')
    captioned = image.copy()
    height, width = image.shape[:2]
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(height / 720.0, 0.3)
    (text_width, _), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1.0, 0.95 * width / max(text_width, 1))
    (_, text_height), baseline = cv2.getTextSize(text, font, scale, 1)
    strip = captioned[: text_height + 2 * baseline]
    strip //= 3
    origin = (max(width // 100, 1), text_height + baseline // 2)
    cv2.putText(captioned, text, origin, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return captioned
