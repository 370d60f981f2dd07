"""Fills the places in an image that a moved object has left. Shapes: H W image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def fill_holes(image: Image, hole: Image, worth: NDArray[np.float32]) -> Image:
    """Fill a region from its surroundings, coarse to fine (push-pull), with some grain.

    Args:
        image: RGB, (H, W, 3).
        hole: Above 0 where to fill, (H, W).
        worth: How much each pixel counts as a source, in [0, 1], (H, W).
    """
    weights = [np.where(hole > 0, 0, worth).astype(np.float32)]
    colours = [image * weights[0][..., None]]
    while min(weights[-1].shape) > 2:
        colours.append(cv2.pyrDown(colours[-1]))
        weights.append(cv2.pyrDown(weights[-1]))
    filled = colours[-1] / np.maximum(weights[-1], 1e-6)[..., None]
    for colour, weight in zip(reversed(colours[:-1]), reversed(weights[:-1]), strict=True):
        size = (weight.shape[1], weight.shape[0])
        coarser = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR)
        known = np.minimum(weight, 1)[..., None]
        filled = colour / np.maximum(weight, 1e-6)[..., None] * known + coarser * (1 - known)
    grain = np.random.default_rng(0).normal(0, 4, hole.shape).astype(np.float32)[..., None]
    filled = np.clip(filled + grain, 0, 255)
    return np.where(hole[..., None] > 0, filled, image).astype(np.uint8)
