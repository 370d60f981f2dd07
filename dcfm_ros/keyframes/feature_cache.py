"""What the last keyframe leaves for the frames after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.keyframes.motion import Picture


@dataclass(eq=False)
class FrameInfo:
    """A frame of the stream, which may become a keyframe."""

    number: int
    """Counted from 0, the first frame of the engine."""
    size: tuple[int, int]
    """(H, W) of its image."""
    stamp_ns: int
    """Its acquisition time."""
    picture: Picture | None = None
    """What optical flow is computed from; None without motion compensation."""
    thumbnail: NDArray[np.uint8] | None = None
    """The picture at the size of the feature grid, (h, w); None where masks are not steadied."""
    logits: Any | None = None
    """Class scores that its mask was made from, of the backend; None before."""


class FeatureCache:
    """The projected common feature in use and its keyframe, or why there is none.

    Both change together; a feature still being computed is not in it.
    """

    def __init__(self) -> None:
        self.common: Any | None = None
        """Projected common feature of the backend; None at first and after `clear`."""
        self.keyframe = FrameInfo(0, (0, 0), 0)
        """The frame that it belongs to."""
        self.reason_cleared = 'first'
        """While there is no feature: why the next frame must be a keyframe."""

    def store(self, common: Any, keyframe: FrameInfo) -> None:
        """Take the feature of a keyframe."""
        self.common, self.keyframe = common, keyframe

    def clear(self, reason: str) -> None:
        """Forget the feature; the next frame becomes a keyframe for this reason."""
        self.common = None
        self.reason_cleared = reason
