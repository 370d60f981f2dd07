"""What the last keyframe left for the frames after it."""

from __future__ import annotations

from torch import Tensor


class FeatureCache:
    """The projected common feature of the last keyframe, its age, and why it may not be used."""

    def __init__(self) -> None:
        self.common: Tensor | None = None
        """Backend's projected common feature; None before the first keyframe and after `clear`."""
        self.size: tuple[int, int] | None = None
        """(H, W) of the image that the feature belongs to."""
        self.stamp_ns = 0
        """Stamp of the newest frame that was segmented with this feature."""
        self.age = 0
        """Frames since the keyframe, 0 on it."""
        self.reason_cleared = 'first'
        """Why the next frame must be a keyframe, as long as there is no feature."""

    def store(self, common: Tensor, size: tuple[int, int], stamp_ns: int) -> None:
        """Take the feature of a new keyframe."""
        self.common, self.size, self.stamp_ns, self.age = common, size, stamp_ns, 0

    def use(self, stamp_ns: int) -> None:
        """Count a non-key frame."""
        self.stamp_ns = stamp_ns
        self.age += 1

    def clear(self, reason: str) -> None:
        """Forget the feature; the next frame becomes a keyframe for this reason."""
        self.common = None
        self.reason_cleared = reason
