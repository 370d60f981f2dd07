"""Logits on the feature grid -> class mask and confidence at camera resolution, on the CPU.

Resizing and argmax are fused: the K x H x W map (203 MB at 124 classes, 480x853) never exists.
Shapes: K classes, h w feature grid, H W camera image.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.tiles import Planes, class_mask_in_tiles, resize

_MAX_CLASSES = 255


def class_mask(planes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class of every pixel: argmax of the bilinearly resized logits.

    Args:
        planes: Logits, (K, h, w), K at most 255; not copied if they are float32 and contiguous.
        size: (H, W) of the mask.

    Returns:
        Class ids, (H, W) uint8.

    Raises:
        ValueError: If `planes` has another number of dimensions, or too many classes.
    """
    return class_mask_in_tiles(_checked(planes), size)


def confidence_map(planes: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Softmax probability of the class that `class_mask` chooses.

    Args:
        planes: Logits, as in `class_mask`.
        size: (H, W) of the map.

    Returns:
        Values in (0, 1], (H, W) float32.

    Raises:
        ValueError: As `class_mask`.
    """
    planes = _checked(planes)
    best = np.full(size, -np.inf, np.float32)
    for plane in planes:
        cv2.max(best, resize(plane, size), best)
    total = np.zeros(size, np.float32)
    for plane in planes:
        total += cv2.exp(resize(plane, size) - best)
    return np.asarray(1.0 / total, np.float32)


def _checked(planes: NDArray[Any]) -> Planes:
    if planes.ndim != 3 or not 1 <= len(planes) <= _MAX_CLASSES:
        raise ValueError(
            f'`planes` must be (K, h, w) of 1 to {_MAX_CLASSES} classes, got {planes.shape}'
        )
    return np.ascontiguousarray(planes, np.float32)
