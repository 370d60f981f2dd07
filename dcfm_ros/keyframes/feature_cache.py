"""What the last keyframe left for the frames after it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from dcfm_ros.keyframes.motion import Picture


@dataclass(frozen=True)
class Keyframe:
    """The frame that a common feature belongs to."""

    number: int
    """Counted from the engine's first frame, 0."""
    size: tuple[int, int]
    """(H, W) of its image."""
    stamp_ns: int
    """Its acquisition time."""
    picture: Picture | None = field(default=None, compare=False, repr=False)
    """What motion since then is found by; None if nobody asks."""


class FeatureCache:
    """The projected common feature in use and whose it is, or why there is none.

    Both change at once; a feature that is still being computed is not here.
    """

    def __init__(self) -> None:
        self.common: Tensor | None = None
        """Backend's projected common feature; None before the first keyframe and after `clear`."""
        self.keyframe = Keyframe(0, (0, 0), 0)
        """Whose feature it is."""
        self.reason_cleared = 'first'
        """Why the next frame must be a keyframe, as long as there is no feature."""

    def store(self, common: Tensor, keyframe: Keyframe) -> None:
        """Take the feature of a keyframe."""
        self.common, self.keyframe = common, keyframe

    def clear(self, reason: str) -> None:
        """Forget the feature; the next frame becomes a keyframe for this reason."""
        self.common = None
        self.reason_cleared = reason
