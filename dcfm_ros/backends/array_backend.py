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


class ArrayBackend(Backend):
    """A backend on the CPU. Features are (1, h, w, C), channels last; logits (K, h, w)."""

    device = 'cpu'

    def grid(self, feature: Array) -> tuple[int, int]:
        """See `Backend.grid`."""
        return feature.shape[1], feature.shape[2]

    def warp(self, feature: Array, at: Places) -> Array:
        """See `Backend.warp`."""
        return warp_vectors(feature[0], at)[None]

    def blend(self, logits: Array, earlier: Array, at: Places, weight: Floats) -> Array:
        """See `Backend.blend`."""
        return blend_planes(logits, earlier, at, weight)

    def digest(self, independent: Any) -> NDArray[np.float32]:
        """See `Backend.digest`."""
        return digest(independent.feature[0])

    def class_mask(self, logits: Array, size: tuple[int, int]) -> NDArray[np.uint8]:
        """See `Backend.class_mask`."""
        return class_mask(logits, size)

    def confidence_map(self, logits: Array, size: tuple[int, int]) -> NDArray[np.float32]:
        """See `Backend.confidence_map`."""
        return confidence_map(logits, size)

    def to_array(self, logits: Array) -> Array:
        """See `Backend.to_array`."""
        return logits[None]
