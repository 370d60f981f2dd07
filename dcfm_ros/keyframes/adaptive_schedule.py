"""A keyframe where what the camera sees has changed (paper III-D)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
from dataclasses import replace
import math

import cv2
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.keyframes.options import ScheduleOptions
from dcfm_ros.keyframes.schedule import (
    Decision,
    FixedScheduler,
    Image,
    Observation,
    Schedule,
    check_start,
)

_CELL = 8

# The deviations that the network divides RGB in [0, 1] by.
_STD = np.array([0.229, 0.224, 0.225])


def make_schedule(options: ScheduleOptions, replaced: Schedule | None = None) -> Schedule:
    """The schedule that the options ask for.

    Args:
        options: All about it.
        replaced: The schedule whose place it takes; what that one knows of the last keyframe is
            taken over. An adaptive schedule after a fixed one, or after one with another score,
            has nothing to compare with: the next frame that its least interval allows becomes a
            keyframe.
    """
    if options.schedule == 'fixed':
        return FixedScheduler(options)
    before = replaced if isinstance(replaced, AdaptiveScheduler) else None
    return AdaptiveScheduler(options, before)


class AdaptiveScheduler:
    """A keyframe as soon as a frame differs enough from the last keyframe.

    Causal: only the frame and the keyframe before it are looked at. Keeps the image of that
    keyframe, or a digest of its independent feature.
    """

    def __init__(self, options: ScheduleOptions, before: AdaptiveScheduler | None = None) -> None:
        """Take threshold, score and limits from the options; the last keyframe from `before`."""
        self._options = options
        self._keyframe: Image | Tensor | None = None
        if before is not None and before.uses_feature == self.uses_feature:
            self._keyframe = before.keyframe

    @property
    def uses_feature(self) -> bool:
        """See `Schedule.uses_feature`."""
        return self._options.keyframe_score == 'feature'

    @property
    def keyframe(self) -> Image | Tensor | None:
        """What is kept of the last keyframe; None before the first."""
        return self._keyframe

    def decide(self, seen: Observation) -> Decision:
        """See `Schedule.decide`; the reason is 'change' or 'max_interval'.

        A frame with nothing to compare with counts as changed.
        """
        options = self._options
        score = self._compare(seen)
        is_early = seen.age < options.min_keyframe_interval
        reason = ''
        if not is_early and not score < options.change_threshold:
            reason = 'change'
        elif 0 < options.max_keyframe_interval <= seen.age:
            reason = 'max_interval'
        return Decision(reason, score)

    def set_keyframe(self, seen: Observation) -> None:
        """See `Schedule.set_keyframe`."""
        if self.uses_feature:
            assert seen.feature is not None
            self._keyframe = digest(seen.feature)
        else:
            # A camera driver may write its next frame into this buffer.
            self._keyframe = seen.image.copy()

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; the last frame is a keyframe too, for the reason 'last'.

        So says the paper: until the score exceeds the threshold or the video ends. Not so where
        the last frame lies less than `min_keyframe_interval` after a keyframe.
        """
        check_start(start, num_frames)
        yield from (Decision('') for _ in range(start))
        schedule, keyframe = copy.copy(self), start
        for frame in range(start, num_frames):
            seen = replace(look(frame), age=frame - keyframe)
            decision = Decision('first')
            if frame > start:
                decision = schedule.decide(seen)
                is_last = (
                    frame == num_frames - 1 and seen.age >= self._options.min_keyframe_interval
                )
                if not decision.reason and is_last:
                    decision = decision._replace(reason='last')
            if decision.reason:
                schedule.set_keyframe(seen)
                keyframe = frame
            yield decision

    def _compare(self, seen: Observation) -> float:
        """The score of a frame; nan where there is no keyframe to compare with."""
        if self._keyframe is None:
            return math.nan
        if isinstance(self._keyframe, Tensor):
            assert seen.feature is not None
            return feature_change(digest(seen.feature), self._keyframe)
        return change_score(seen.image, self._keyframe)


def change_score(image: Image, keyframe: Image) -> float:
    """How much two images differ to the network, at least 0: the paper's score.

    The mean absolute difference, over pixels and channels, of what the network is given: RGB in
    [0, 1] minus mean by deviation. Its means cancel and its deviations weigh the channels, so that
    it is exact in whole numbers and the same on every device.
    """
    difference = cv2.mean(cv2.absdiff(image, keyframe))[:3]
    return float(np.mean(difference / (255 * _STD)))


@torch.inference_mode()
def digest(feature: Tensor) -> Tensor:
    """What is kept of an independent feature: its direction in every cell of 8 x 8 positions.

    Over smaller cells it tells less of what a mask loses (see docs/adaptive_keyframes.md).

    Args:
        feature: Raw, (1, C_f, h, w).

    Returns:
        Mean over the cell, divided by its L2 norm, (1, C_f, h / 8, w / 8) rounded up.
    """
    cells = F.avg_pool2d(feature.float(), _CELL, ceil_mode=True)
    return F.normalize(cells, dim=1)


@torch.inference_mode()
def feature_change(cells: Tensor, keyframe: Tensor) -> float:
    """How much two digests differ: 1 minus the mean cosine of the cells, in [0, 2]."""
    return max(0.0, 1 - float((cells * keyframe).sum(1).mean()))  # 0 but for rounding
