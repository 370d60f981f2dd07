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

from dcfm_ros.keyframes.schedule import (
    Decision,
    Image,
    Observation,
    Schedule,
    check_interval,
    check_seconds,
    check_start,
    is_longer,
)

SCORES = ('image', 'feature')
_CELL = 8

# The deviations that the network divides RGB in [0, 1] by.
_STD = np.array([0.229, 0.224, 0.225])


class AdaptiveScheduler:
    """A keyframe as soon as a frame differs enough from the last keyframe.

    Causal: only the frame and the keyframe before it are looked at. Keeps the image of that
    keyframe, or a digest of its independent feature.
    """

    def __init__(
        self,
        threshold: float,
        min_interval: int = 1,
        max_interval: int | None = None,
        *,
        score: str = 'image',
        min_interval_s: float = 0.0,
        max_interval_s: float | None = None,
        confidence_drop: float | None = None,
    ) -> None:
        """Set the rule.

        Args:
            threshold: Score that makes a keyframe, at least 0; 0 makes every frame one.
            min_interval: Frames from keyframe to keyframe at least, whatever the score (MinK).
            max_interval: Frames from keyframe to keyframe at most; None: no limit, as the paper.
            score: What is compared: 'image' (see `change_score`) or 'feature' (see
                `feature_change`).
            min_interval_s: Like `min_interval`, in seconds between the stamps; both hold.
            max_interval_s: Like `max_interval`, in seconds between the stamps; the first holds.
                Where frames are dropped, as many of them last longer.
            confidence_drop: Also a keyframe where the mean confidence of the mask before has
                fallen by more than this, in (0, 1], since the keyframe; None: never.

        Raises:
            ValueError: If a value is outside these, or a `max_` is below its `min_`.
        """
        if score not in SCORES:
            raise ValueError(f'`score` must be one of {", ".join(SCORES)}, got {score!r}')
        if not threshold >= 0:
            raise ValueError(f'`threshold` must be at least 0, got {threshold}')
        if not min_interval_s >= 0:
            raise ValueError(f'`min_interval_s` must be at least 0, got {min_interval_s}')
        if confidence_drop is not None and not 0 < confidence_drop <= 1:
            raise ValueError(
                f'`confidence_drop` must be above 0 and at most 1, got {confidence_drop}'
            )
        check_interval('min_interval', min_interval)
        if max_interval is not None:
            check_interval('max_interval', max_interval)
        check_seconds('max_interval_s', max_interval_s)
        _check_order('max_interval', max_interval, 'min_interval', min_interval)
        _check_order('max_interval_s', max_interval_s, 'min_interval_s', min_interval_s)
        self.threshold = threshold
        self.min_interval = min_interval
        self.max_interval = max_interval
        self.score = score
        self.min_interval_s = min_interval_s
        self.max_interval_s = max_interval_s
        self.confidence_drop = confidence_drop
        self._keyframe: Image | Tensor | None = None

    @property
    def uses_feature(self) -> bool:
        """See `Schedule.uses_feature`."""
        return self.score == 'feature'

    @property
    def uses_confidence(self) -> bool:
        """See `Schedule.uses_confidence`."""
        return self.confidence_drop is not None

    def decide(self, seen: Observation) -> Decision:
        """See `Schedule.decide`; the reason is 'change', 'confidence' or 'max_interval'.

        A frame that there is nothing to compare with yet counts as changed: one after the schedule
        was put in the place of another kind.
        """
        score = self._compare(seen)
        is_early = seen.age < self.min_interval or seen.age_s < self.min_interval_s
        is_late = self.max_interval is not None and seen.age >= self.max_interval
        reason = ''
        if not is_early and not score < self.threshold:
            reason = 'change'
        elif not is_early and seen.confidence_drop > (self.confidence_drop or math.inf):
            reason = 'confidence'
        elif is_late or is_longer(seen.age_s, self.max_interval_s):
            reason = 'max_interval'
        return Decision(reason, score)

    def set_keyframe(self, seen: Observation) -> None:
        """See `Schedule.set_keyframe`."""
        if self.score == 'image':
            # A camera driver may write its next frame into this buffer.
            self._keyframe = seen.image.copy()
        else:
            assert seen.feature is not None
            self._keyframe = digest(seen.feature)

    def follow(self, other: Schedule) -> None:
        """See `Schedule.follow`; one with another score knows nothing of use."""
        self._keyframe = None
        if isinstance(other, AdaptiveScheduler) and other.score == self.score:
            self._keyframe = other._keyframe

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; the last frame is a keyframe too, for the reason 'last'.

        So says the paper: until the score exceeds the threshold or the video ends. Not so where
        the last frame lies less than `min_interval` after a keyframe.
        """
        check_start(start, num_frames)
        yield from (Decision('') for _ in range(start))
        schedule, keyframe = copy.copy(self), start
        for frame in range(start, num_frames):
            seen = replace(look(frame), age=frame - keyframe)
            decision = Decision('first')
            if frame > start:
                decision = schedule.decide(seen)
                is_last = frame == num_frames - 1 and seen.age >= self.min_interval
                if not decision.reason and is_last:
                    decision = decision._replace(reason='last')
            if decision.reason:
                schedule.set_keyframe(seen)
                keyframe = frame
            yield decision

    def settings(self) -> dict[str, str | float | None]:
        """See `Schedule.settings`."""
        return {
            'schedule': 'adaptive',
            'keyframe_score': self.score,
            'change_threshold': self.threshold,
            'min_interval': self.min_interval,
            'max_interval': self.max_interval,
            'min_interval_s': self.min_interval_s,
            'max_interval_s': self.max_interval_s,
            'confidence_drop': self.confidence_drop,
        }

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


def _check_order(
    name: str, longest: float | None, shortest_name: str, shortest: float | None
) -> None:
    if longest is not None and shortest is not None and longest < shortest:
        raise ValueError(
            f'`{name}` must be at least `{shortest_name}` ({shortest}), got {longest}'
        )
