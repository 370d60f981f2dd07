"""`ArrayBackend`: what is asked of features and logits that are NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.feature_change import digest
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.warp import Floats, Places, blend_planes, warp_vectors
from dcfm_ros.masks.class_mask import class_mask, confidence_map

Array = NDArray[Any]
Arrays = tuple[Array, ...]


class ArrayBackend(Backend):
    """A backend on the CPU. Logits are (K, h, w), common features tuples of (1, h, w, C)."""

    device = 'cpu'

    def grid(self, feature: Array | Arrays) -> tuple[int, int]:
        """See `Backend.grid`."""
        shapes = [one.shape for one in feature] if isinstance(feature, tuple) else [feature.shape]
        return max((shape[1], shape[2]) for shape in shapes)

    def warp(self, feature: Arrays, at: Places) -> Arrays:
        """See `Backend.warp`."""
        return tuple(warp_vectors(one[0], at.on(one.shape[1:3]))[None] for one in feature)

    def blend(self, logits: Array, earlier: Array, at: Places, weight: Floats) -> Array:
        """See `Backend.blend`."""
        return blend_planes(logits, earlier, at, weight)

    def digest(self, independent: Any) -> NDArray[np.float32]:
        """See `Backend.digest`."""
        return digest(independent.feature[0])

    def class_mask(self, logits: Array, size: tuple[int, int]) -> NDArray[np.uint8]:
        """See `Backend.class_mask`."""
        return class_mask(logits, size)

    def confidence_map(
        self, logits: Array, size: tuple[int, int], temperature: float = 1.0
    ) -> NDArray[np.float32]:
        """See `Backend.confidence_map`."""
        # Without a copy where there is nothing to do: they may be of the size of the image.
        return confidence_map(logits if temperature == 1 else logits / temperature, size)

    def to_array(self, logits: Array) -> Array:
        """See `Backend.to_array`."""
        return logits[None]
