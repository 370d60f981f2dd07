"""`FrameResult`: what the engine found in one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcfm_ros.masks.class_mask import confidence_map


@dataclass(eq=False, kw_only=True)
class FrameResult:
    """What the engine found in one frame."""

    mask: NDArray[np.uint8]
    """Class of every pixel at camera resolution, (H, W)."""
    is_keyframe: bool
    """True if the deep encoder was begun on this frame; in execution 'sync' it is done too."""
    reason: str
    """Why it was a keyframe: 'first', 'size_change', 'time_jump' (back), 'time_gap', 'reset', the
    schedule's 'interval', 'change', 'confidence' or 'max_interval', 'max_age', 'retry' (the deep
    encoder had failed), or 'last' of a clip; '' if it was none."""
    keyframe_age: int
    """Frames since the keyframe whose common feature was used, 0 if it is this frame's own."""
    feature_age_ms: float
    """The same in ms between the stamps; in a clip, where stamps are numbers, nan."""
    change_score: float
    """How much the frame differs from the keyframe before it, by the score of the schedule; nan
    where that does not ask, or had none to compare with: 'first', 'reset', ..."""
    stage_ms: dict[str, float]
    """Duration in ms of preprocess (with the schedule's decision), independent, common (where
    the deep encoder worked on this frame), decode and mask."""
    stamp_ns: int
    """Acquisition time of the frame, as given."""
    logits: Tensor = field(repr=False)
    """Class logits on the feature grid, (1, K, h, w)."""

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the chosen class, (H, W) in (0, 1]; computed when first asked for."""
        height, width = self.mask.shape
        return confidence_map(self.logits, (height, width))
