"""A keyframe where what the camera sees has changed (paper III-D)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
from dataclasses import replace
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.feature_change import feature_change
from dcfm_ros.keyframes.schedule import (
    Decision,
    FixedScheduler,
    Image,
    Observation,
    Schedule,
    check_start,
)
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

# ImageNet's standard deviations of RGB in [0, 1], by which the paper's networks divide. They stay
# with a network that divides by others, so that a threshold means the same with any weights.
_STD = np.array([0.229, 0.224, 0.225])


def make_schedule(options: ScheduleOptions, replaced: Schedule | None = None) -> Schedule:
    """The schedule that the options ask for.

    Args:
        options: When keyframes are due.
        replaced: The schedule that it replaces, whose last keyframe it takes over. An adaptive
            schedule after a fixed one, or after one with another score, has nothing to compare
            with: the next frame that its minimum interval allows becomes a keyframe.
    """
    if options.schedule == 'fixed':
        return FixedScheduler(options)
    before = replaced if isinstance(replaced, AdaptiveScheduler) else None
    return AdaptiveScheduler(options, before)


class AdaptiveScheduler:
    """Makes a keyframe as soon as a frame differs enough from the last one.

    Causal: it looks only at the frame and the keyframe before it. Keeps the image of that
    keyframe, or the digest of its independent feature.
    """

    def __init__(self, options: ScheduleOptions, before: AdaptiveScheduler | None = None) -> None:
        """Take threshold, score and limits from the options; the last keyframe from `before`."""
        self._options = options
        self._kept: Any = None
        """Image or digest of the last keyframe; None before the first."""
        if before is not None and before.uses_feature == self.uses_feature:
            self._kept = before._kept

    @property
    def uses_feature(self) -> bool:
        """See `Schedule.uses_feature`."""
        return self._options.keyframe_score == 'feature'

    def decide(self, seen: Observation) -> Decision:
        """See `Schedule.decide`; the reason is 'change' or 'max_interval'.

        Without a keyframe to compare with, a frame counts as changed.
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
        # A copy: a camera driver may write its next frame into this buffer.
        self._kept = _digest_of(seen) if self.uses_feature else seen.image.copy()

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; the last frame is a keyframe too, for the reason 'last'.

        The paper: until the score exceeds the threshold or the video ends. Not if the last frame
        comes less than `min_keyframe_interval` after a keyframe.
        """
        check_start(start, num_frames)
        yield from (Decision('') for _ in range(start))
        schedule, keyframe = copy.copy(self), start
        for frame in range(start, num_frames):
            seen = replace(look(frame), age=frame - keyframe)
            decision = Decision('first')
            if frame > start:
                decision = schedule.decide(seen)
                is_early = seen.age < self._options.min_keyframe_interval
                if not decision.reason and not is_early and frame == num_frames - 1:
                    decision = decision._replace(reason='last')
            if decision.reason:
                schedule.set_keyframe(seen)
                keyframe = frame
            yield decision

    def _compare(self, seen: Observation) -> float:
        """The score of a frame; nan while there is no keyframe to compare with."""
        if self._kept is None:
            return math.nan
        if self.uses_feature:
            return feature_change(_digest_of(seen), self._kept)
        return change_score(seen.image, self._kept)


def _digest_of(seen: Observation) -> NDArray[np.float32]:
    if seen.digest is None:
        raise ValueError("`digest` must be given where `keyframe_score` is 'feature', got None")
    return seen.digest


def change_score(image: Image, keyframe: Image) -> float:
    """How much two images differ, at least 0: the paper's score.

    The mean absolute difference, over pixels and channels, of the inputs of the paper's networks:
    RGB in [0, 1] minus ImageNet's mean, by its standard deviation. The means cancel and the
    deviations weigh the channels, so it is computed in whole numbers, exactly and the same on
    every device.
    """
    difference = cv2.mean(cv2.absdiff(image, keyframe))[:3]
    return float(np.mean(difference / (255 * _STD)))
