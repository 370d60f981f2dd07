"""A backend without PyTorch: a network of two layers in NumPy, its features channels last."""

from __future__ import annotations

import cv2
import numpy as np

from dcfm_ros.backends import feature_change
from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.warp import blend_planes, warp_vectors
from dcfm_ros.masks.class_mask import class_mask, confidence_map

_STRIDE = 4


class ArrayBackend(Backend):
    """Common features are (1, h, w, 8), logits (1, num_classes, h, w)."""

    name, device = 'arrays', 'cpu'

    def __init__(self, num_classes=5):
        random = np.random.default_rng(0)
        self._weights = {
            name: random.normal(size=shape).astype(np.float32)
            for name, shape in (('common', (3, 8)), ('own', (3, 8)), ('head', (8, num_classes)))
        }

    def to_input(self, image):
        grid = image.shape[1] // _STRIDE, image.shape[0] // _STRIDE
        return cv2.resize(image, grid, interpolation=cv2.INTER_AREA)[None]

    def encode_independent(self, image):
        return image.astype(np.float32) / 128 - 1

    def deep_task(self, independent):
        return DeepTask([lambda x: cv2.blur(x[0], (5, 5))[None], self._to_common], independent)

    def decode(self, cached, independent):
        own = independent @ self._weights['own']
        logits = [np.maximum(common + own, 0) @ self._weights['head'] for common in cached]
        return np.moveaxis(np.mean(logits, axis=0), -1, 1)

    def grid(self, feature):
        is_common = feature.shape[-1] == 8
        return feature.shape[1:3] if is_common else feature.shape[2:]

    def warp(self, feature, at):
        return warp_vectors(feature[0], at)[None]

    def blend(self, logits, earlier, at, weight):
        return blend_planes(logits[0], earlier[0], at, weight)[None]

    def digest(self, independent):
        return feature_change.digest(independent[0])

    def class_mask(self, logits, size):
        return class_mask(logits[0], size)

    def confidence_map(self, logits, size, temperature=1.0):
        return confidence_map(logits[0] / temperature, size)

    def to_array(self, logits):
        return logits

    def _to_common(self, blurred):
        return blurred @ self._weights['common']
