"""Steadier masks: class scores blended with those of a keyframe, moved to where things are now.

A network that looks at every frame anew changes its mind at borders and in the distance although
nothing has changed. Where a frame shows what the keyframe before it has shown, its class scores
are blended with the blended ones of that keyframe. The optical flow that moves the cached feature
also moves the scores. Idea: KD-SSP (CVPR 2025). Shapes: h w feature grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.warp import Places, sample
from dcfm_ros.keyframes.motion import Picture

if TYPE_CHECKING:
    from dcfm_ros.keyframes.feature_cache import FrameInfo

_FADING = 5.0
"""Difference of grey values, 0 to 255, at which the weight falls to 1/e."""
_FADE = np.exp(-np.arange(256) / _FADING).astype(np.float32)


def thumbnail(picture: Picture, grid: tuple[int, int]) -> NDArray[np.uint8]:
    """What optical flow is computed from, at the size of the feature grid, (h, w)."""
    small = cv2.resize(picture, grid[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def steadied(
    backend: Backend, logits: Any, now: FrameInfo, then: FrameInfo, at: Places, blending: float
) -> Any:
    """Class scores of a frame, blended with those of an earlier one.

    Args:
        backend: Made the logits of both, and blends them.
        logits: Of the frame.
        now: The frame.
        then: The earlier one.
        at: Where its content was.
        blending: Weight of the earlier scores where the image has not changed, in [0, 1).

    Returns:
        The blended logits; the same ones where there is nothing to blend with.
    """
    if then.logits is None or backend.grid(then.logits) != backend.grid(logits):
        return logits
    assert now.thumbnail is not None and then.thumbnail is not None
    at = at.on(backend.grid(logits))
    before = np.asarray(sample(then.thumbnail, at), np.uint8)
    weight = np.float32(blending) * _FADE[cv2.absdiff(now.thumbnail, before)]
    return backend.blend(logits, then.logits, at, weight)
