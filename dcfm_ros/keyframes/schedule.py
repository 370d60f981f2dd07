"""When is the next keyframe: what a schedule is, and the one with a fixed interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What is known of a frame when its schedule decides."""

    image: Image
    """RGB, (H, W, 3), at the size that the network works at."""
    feature: Tensor | None = None
    """Raw independent feature, (1, C_f, h, w); may be None for a schedule that `uses_feature`
    not."""
    age: int = 0
    """Frames since the last keyframe."""
    age_s: float = math.nan
    """The same in s between the stamps; nan in a recorded clip, which has none."""
    confidence_drop: float = math.nan
    """How much less confident, in the mean over all pixels, the mask of the frame before was than
    the first mask made with the feature in use; nan where there is none of the two, or for a
    schedule that `uses_confidence` not."""
    phase: float = 0.0
    """Share of a fixed interval, in [0, 1), after which the next keyframe is due, 0: all of it.
    Only after a keyframe that several cameras may have had at once, to have them take turns."""


class Decision(NamedTuple):
    """What a schedule says of a frame."""

    reason: str
    """Why it must be a keyframe, '' if it need not."""
    change_score: float = math.nan
    """How much the frame differs from the keyframe; nan where nothing was compared."""


class Schedule(Protocol):
    """Tells which frames are keyframes and keeps what it must know of the last one.

    First frame, size change, a time that goes back or leaps, and reset make a keyframe under every
    schedule: those are the engine's rules.
    """

    @property
    def uses_feature(self) -> bool:
        """Whether `Observation.feature` must be given."""
        ...

    @property
    def uses_confidence(self) -> bool:
        """Whether `Observation.confidence_drop` must be given."""
        ...

    def decide(self, seen: Observation) -> Decision:
        """Judge a frame after the last keyframe, of age 1 at least."""
        ...

    def set_keyframe(self, seen: Observation) -> None:
        """Take what was seen of a new keyframe, whoever made it one."""
        ...

    def follow(self, other: Schedule) -> None:
        """Take from the schedule that it replaces what that one knows of the last keyframe."""
        ...

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """Judge every frame of a recorded clip, in order, none looked at before it is asked for.

        Leaves the schedule itself as it is. Keyframes come first and masks later, and there are no
        stamps: limits in seconds and confidence do not count.

        Args:
            num_frames: Length of the clip.
            look: Gives image and feature of a frame; only called where the schedule needs it.
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

    uses_feature = False
    uses_confidence = False

    def __init__(self, interval: int = 2, *, max_interval_s: float | None = None) -> None:
        """Set the rule.

        Args:
            interval: Frames from keyframe to keyframe.
            max_interval_s: Seconds from keyframe to keyframe at most, by the stamps: where frames
                are dropped, as many of them last longer. None: no limit.

        Raises:
            ValueError: If a value is outside these.
        """
        check_interval('interval', interval)
        check_seconds('max_interval_s', max_interval_s)
        self.interval = interval
        self.max_interval_s = max_interval_s

    def decide(self, seen: Observation) -> Decision:
        """See `Schedule.decide`; the reason is 'interval' or 'max_interval'."""
        if seen.age >= (round(seen.phase * self.interval) or self.interval):
            return Decision('interval')
        return Decision('max_interval' if is_longer(seen.age_s, self.max_interval_s) else '')

    def set_keyframe(self, seen: Observation) -> None:
        """See `Schedule.set_keyframe`; the age is all that counts here."""

    def follow(self, other: Schedule) -> None:
        """See `Schedule.follow`."""

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; keyframes at `start`, `start` + `interval`, ..."""
        check_start(start, num_frames)
        for age in range(-start, num_frames - start):
            is_due = age >= 0 and age % self.interval == 0
            yield Decision('' if not is_due else 'interval' if age else 'first')

    def settings(self) -> dict[str, str | float | None]:
        """See `Schedule.settings`."""
        return {
            'schedule': 'fixed',
            'keyframe_interval': self.interval,
            'max_interval_s': self.max_interval_s,
        }


def is_longer(age_s: float, limit_s: float | None) -> bool:
    """Whether an age has reached a limit; no where there is no limit, or no age (nan)."""
    return limit_s is not None and age_s >= limit_s


def check_interval(name: str, interval: int) -> None:
    """Raise ValueError unless it is a number of frames."""
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
        raise ValueError(f'`{name}` must be a whole number from 1, got {interval!r}')


def check_seconds(name: str, seconds: float | None) -> None:
    """Raise ValueError unless it is None or a time above 0."""
    if seconds is not None and not seconds > 0:
        raise ValueError(f'`{name}` must be above 0, got {seconds}')


def check_start(start: int, num_frames: int) -> None:
    """Raise ValueError unless a frame lies inside a clip."""
    if not 0 <= start < max(num_frames, 1):
        raise ValueError(
            f'`start` must be at least 0 and inside the clip of {num_frames} frames, got {start}'
        )
