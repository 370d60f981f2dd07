"""What has moved since a keyframe: optical flow, for its feature and for its class scores.

The paper fuses a keyframe's common feature with a later frame as if nothing had moved (Eq. 5), so
masks lag behind moving objects. The optical flow between the two images, at reduced size, says
where everything went, for a few milliseconds.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.warp import Places, places

Picture = NDArray[np.uint8]
"""What optical flow is computed from: grey, half as high and wide as the image."""

_MIN_SIDE = 32
"""Rows and columns of the smallest picture that the flow is computed on."""


class OpticalFlow:
    """Dense flow between two images (DIS, Kroeger et al., ECCV 2016); not thread-safe."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def picture(self, image: NDArray[np.uint8]) -> Picture:
        """RGB (H, W, 3) -> what `places` compares; a copy."""
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), np.uint8)

    def places(
        self, then: Picture | None, now: Picture | None, grid: tuple[int, int]
    ) -> Places | None:
        """For every place of an image: where its content was in another.

        Args:
            then: Picture of the other image.
            now: Picture of the image, of the same size.
            grid: (h, w) of the feature grid.

        Returns:
            Places on the grid; None if there are no pictures, or they are too small.
        """
        if then is None or now is None or min(now.shape) < _MIN_SIDE:
            return None
        flow = self._flow.calc(now, then, None)
        return places(np.asarray(flow, np.float32), grid)

    def align(
        self, backend: Backend, feature: Any, then: Picture | None, now: Picture | None
    ) -> Any:
        """Move the common feature of one image to where its content is in another.

        Args:
            backend: Made the feature, and moves it.
            feature: Common feature.
            then: Picture of the image it was computed from.
            now: Picture of the other image, of the same size.

        Returns:
            The moved feature; the same one if there are no pictures, or they are too small.
        """
        at = self.places(then, now, backend.grid(feature))
        return backend.warp(feature, at) if at else feature
