"""`FrameResult`: what the engine computed for one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.interface import Backend


@dataclass(eq=False, kw_only=True)
class FrameResult:
    """What the engine computed for one frame."""

    mask: NDArray[np.uint8]
    """Class of every pixel at camera resolution, (H, W)."""
    is_keyframe: bool
    """Whether the deep encoder was begun on this frame; with execution 'sync' it is done, too."""
    reason: str
    """Why it is a keyframe: 'first', 'size_change', 'time_jump' (back), 'time_gap', 'reset',
    'interval', 'change', 'max_interval', 'max_age', 'retry' (the deep encoder failed), or 'last'
    of a clip; '' for a non-key frame."""
    keyframe_age: int
    """Frames since the keyframe whose common feature was used, 0 if it is this frame's own."""
    feature_age_ms: float
    """The same in ms between the stamps; nan in a clip, which has none."""
    change_score: float
    """How much the frame differs from the keyframe before it, by the score of the schedule; nan
    if nothing was compared: the schedule is fixed, or the reason 'first', 'reset', ..."""
    stage_ms: dict[str, float]
    """Duration in ms of preprocess (with the schedule's decision), independent, common (if the
    deep encoder worked on this frame), motion (if there is optical flow), decode, blend (if masks
    are steadied) and mask."""
    stamp_ns: int
    """Acquisition time of the frame, as passed in."""
    _logits: Any = field(repr=False)
    """What mask and confidence are made of; the backend's own."""
    _backend: Backend = field(repr=False)
    _temperature: float = field(default=1.0, repr=False)

    @cached_property
    def logits(self) -> NDArray[Any]:
        """Class logits on the feature grid that mask and confidence are made of, (1, K, h, w).

        float32, or float64 of such a network; fetched from the device on first access. Do not
        write to it: the engine may blend the next frames with it.
        """
        return self._backend.to_array(self._logits)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the chosen class, (H, W) in (0, 1]; computed on first access.

        As calibrated as the checkpoint, see `NetworkConfig.confidence_temperature`.
        """
        height, width = self.mask.shape
        return self._backend.confidence_map(self._logits, (height, width), self._temperature)
