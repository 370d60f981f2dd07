"""What has moved since a keyframe: optical flow, for its feature and for its class scores.

The paper fuses a keyframe's common feature with a later frame as if nothing had moved (Eq. 5), so
masks lag behind moving objects. Optical flow between the images, at reduced size, says where
everything went, for about a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.warp import Places, places, sample

Picture = NDArray[np.uint8]
"""What optical flow is computed from: grey, half as high and wide as the image."""
Flow = NDArray[np.float32]
"""Where the content of every pixel was, relative to it: (H, W, 2), x and y in pixels."""

_MIN_SIDE = 32
"""Rows and columns of the smallest picture that the flow is computed on."""


class OpticalFlow:
    """Dense flow between two images (DIS, Kroeger et al., ECCV 2016); not thread-safe."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        # Twice as fine as the presets, which lose cars; at this stride it takes as long as FAST.
        self._dis.setFinestScale(1)
        self._dis.setPatchStride(5)

    def picture(self, image: NDArray[np.uint8]) -> Picture:
        """RGB (H, W, 3) -> what is compared; a copy."""
        half = image
        if min(image.shape[:2]) > 1:  # half of one row is none
            half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), np.uint8)

    def between(self, then: Picture, now: Picture) -> Flow | None:
        """Where the content of every pixel of a picture was in another, relative to it.

        Returns:
            (H, W, 2), x and y in pixels of the pictures; None if they are too small, or of two
            sizes.
        """
        if then.shape != now.shape or min(now.shape) < _MIN_SIDE:
            return None
        return np.asarray(self._dis.calc(now, then, None), np.float32)

    def places(self, then: Picture, now: Picture, grid: tuple[int, int]) -> Places | None:
        """The same for every place of a feature grid, (h, w)."""
        flow = self.between(then, now)
        return None if flow is None else places(flow, grid)


class FlowChain:
    """Where the content of the newest picture of a stream was in earlier ones.

    Flow is computed between neighbours, where little has moved, and added up: over many frames
    that loses less than the flow between their ends, which finds no car again that has come near.
    """

    def __init__(self) -> None:
        self.flow = OpticalFlow()
        self._newest: Picture | None = None
        self._found: dict[int, tuple[Picture, Flow | None]] = {}
        """Flow between earlier pictures and the newest one, by their identity."""

    def add(self, picture: Picture, earlier: Iterable[Picture | None]) -> None:
        """Take the next picture of the stream.

        Args:
            picture: The new one.
            earlier: Those that `places` will be asked for; others are forgotten.
        """
        wanted = {id(then): then for then in earlier if then is not None and then is not picture}
        last, found = self._newest, {}
        step = self.flow.between(last, picture) if wanted and last is not None else None
        for key, then in wanted.items():
            _, so_far = self._found.get(key, (then, None))
            if then is last:
                flow = step
            elif step is not None and so_far is not None:
                flow = _sum(step, so_far)
            else:
                flow = self.flow.between(then, picture)
            found[key] = then, flow
        self._newest, self._found = picture, found

    def places(self, then: Picture | None, grid: tuple[int, int]) -> Places | None:
        """For every place of the newest picture: where its content was in an earlier one.

        Args:
            then: One of those that the newest was added with.
            grid: (h, w) of the feature grid.

        Returns:
            Places on the grid; None if there is no such flow: the pictures are too small.
        """
        _, flow = self._found.get(id(then), (then, None))
        return None if flow is None else places(flow, grid)


def _sum(flow: Flow, before: Flow) -> Flow:
    """The flow to a picture through one between."""
    rows, columns = flow.shape[:2]
    x = np.arange(columns, dtype=np.float32) + flow[..., 0]
    y = np.arange(rows, dtype=np.float32)[:, None] + flow[..., 1]
    return flow + np.asarray(sample(before, Places(x, y)), np.float32)
