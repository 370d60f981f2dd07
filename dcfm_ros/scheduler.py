"""When is the next keyframe: every so many frames, or when the image has changed (III-D)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
import math
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

# The deviations that the network divides RGB in [0, 1] by.
_STD = np.array([0.229, 0.224, 0.225])


class Decision(NamedTuple):
    """What a schedule says of a frame."""

    reason: str
    """Why it must be a keyframe, '' if it need not."""
    change_score: float = math.nan
    """How much its image differs from the keyframe's; nan where nothing was compared."""


class Schedule(Protocol):
    """Tells which frames are keyframes and keeps what it must know of the last one.

    First frame, size change, time going back and reset make a keyframe under every schedule: those
    are the engine's rules. Images are RGB, (H, W, 3), at the size that the network works at.
    """

    def decide(self, image: Image, age: int) -> Decision:
        """Judge a frame that lies `age` frames, at least 1, after the last keyframe."""
        ...

    def set_keyframe(self, image: Image) -> None:
        """Take the image of a new keyframe, whoever made it one."""
        ...

    def decide_clip(
        self, num_frames: int, read: Callable[[int], Image], start: int = 0
    ) -> Iterator[Decision]:
        """Judge every frame of a recorded clip, in order, none read before it is asked for.

        Leaves the schedule itself as it is.

        Args:
            num_frames: Length of the clip.
            read: Gives the image of a frame; only called where the schedule looks at it.
            start: First keyframe, from 0 and inside the clip.

        Raises:
            ValueError: If `start` is outside the clip.
        """
        ...

    def settings(self) -> dict[str, str | float | None]:
        """Name and parameters, for summaries."""
        ...


class FixedScheduler:
    """A keyframe every `interval` frames (the paper's K); 1 makes every frame a keyframe."""

    def __init__(self, interval: int = 2) -> None:
        _check_interval('interval', interval)
        self.interval = interval

    def decide(self, image: Image, age: int) -> Decision:
        """See `Schedule.decide`; the reason is 'interval'."""
        return Decision('interval' if age >= self.interval else '')

    def set_keyframe(self, image: Image) -> None:
        """See `Schedule.set_keyframe`; the age is all that counts here."""

    def decide_clip(
        self, num_frames: int, read: Callable[[int], Image], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; keyframes at `start`, `start` + `interval`, ..."""
        _check_start(start, num_frames)
        for age in range(-start, num_frames - start):
            is_due = age >= 0 and age % self.interval == 0
            yield Decision('' if not is_due else 'interval' if age else 'first')

    def settings(self) -> dict[str, str | float | None]:
        """See `Schedule.settings`."""
        return {'schedule': 'fixed', 'keyframe_interval': self.interval}


class AdaptiveScheduler:
    """A keyframe as soon as the image differs enough from the last keyframe's (paper III-D).

    Causal: only the frame and the keyframe before it are looked at. Keeps a copy of the keyframe's
    image.
    """

    def __init__(
        self, threshold: float, min_interval: int = 1, max_interval: int | None = None
    ) -> None:
        """Set the rule.

        Args:
            threshold: `change_score` that makes a keyframe, at least 0; 0 makes every frame one.
            min_interval: Frames from keyframe to keyframe at least, whatever the score (MinK).
            max_interval: Frames from keyframe to keyframe at most; None: no limit, as the paper.

        Raises:
            ValueError: If a value is outside these, or `max_interval` is below `min_interval`.
        """
        if not threshold >= 0:
            raise ValueError(f'`threshold` must be at least 0, got {threshold}')
        _check_interval('min_interval', min_interval)
        if max_interval is not None:
            _check_interval('max_interval', max_interval)
            if max_interval < min_interval:
                raise ValueError(
                    f'`max_interval` must be at least `min_interval` ({min_interval}), '
                    f'got {max_interval}'
                )
        self.threshold = threshold
        self.min_interval = min_interval
        self.max_interval = max_interval
        self._keyframe: Image | None = None

    def decide(self, image: Image, age: int) -> Decision:
        """See `Schedule.decide`; the reason is 'change' or 'max_interval'."""
        assert self._keyframe is not None
        score = change_score(image, self._keyframe)
        reason = ''
        if age >= self.min_interval and score >= self.threshold:
            reason = 'change'
        elif self.max_interval is not None and age >= self.max_interval:
            reason = 'max_interval'
        return Decision(reason, score)

    def set_keyframe(self, image: Image) -> None:
        """See `Schedule.set_keyframe`."""
        self._keyframe = image.copy()  # a camera driver may write its next frame into this buffer

    def decide_clip(
        self, num_frames: int, read: Callable[[int], Image], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; the last frame is a keyframe too, for the reason 'last'.

        So says the paper: until the score exceeds the threshold or the video ends. Not so where
        the last frame lies less than `min_interval` after a keyframe.
        """
        _check_start(start, num_frames)
        yield from (Decision('') for _ in range(start))
        schedule, keyframe = copy.copy(self), start
        for frame in range(start, num_frames):
            image = read(frame)
            decision = Decision('first')
            if frame > start:
                age = frame - keyframe
                decision = schedule.decide(image, age)
                if not decision.reason and frame == num_frames - 1 and age >= self.min_interval:
                    decision = decision._replace(reason='last')
            if decision.reason:
                schedule.set_keyframe(image)
                keyframe = frame
            yield decision

    def settings(self) -> dict[str, str | float | None]:
        """See `Schedule.settings`."""
        return {
            'schedule': 'adaptive',
            'change_threshold': self.threshold,
            'min_interval': self.min_interval,
            'max_interval': self.max_interval,
        }


def change_score(image: Image, keyframe: Image) -> float:
    """How much two images differ to the network, at least 0.

    The mean absolute difference, over pixels and channels, of what the network is given: RGB in
    [0, 1] minus mean by deviation. Its means cancel and its deviations weigh the channels, so that
    it is exact in whole numbers and the same on every device.
    """
    difference = cv2.mean(cv2.absdiff(image, keyframe))[:3]
    return float(np.mean(difference / (255 * _STD)))


def _check_interval(name: str, interval: int) -> None:
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
        raise ValueError(f'`{name}` must be a whole number from 1, got {interval!r}')


def _check_start(start: int, num_frames: int) -> None:
    if not 0 <= start < max(num_frames, 1):
        raise ValueError(
            f'`start` must be at least 0 and inside the clip of {num_frames} frames, got {start}'
        )
