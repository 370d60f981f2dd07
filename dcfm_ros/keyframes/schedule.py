"""When is the next keyframe: what a schedule is, and the one with a fixed interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcfm_ros.keyframes.options import ScheduleOptions

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What is known of a frame when its schedule decides."""

    image: Image
    """RGB, (H, W, 3), at the size that the network works at."""
    feature: Tensor | None = None
    """Raw independent feature, (1, C_f, h, w); may be None unless the schedule `uses_feature`."""
    age: int = 0
    """Frames since the last keyframe."""
    phase: float = 0.0
    """Share of a fixed interval, in [0, 1), after which the next keyframe is due; 0: all of it.
    Set after a keyframe that several cameras may have had at once, so that they take turns."""


class Decision(NamedTuple):
    """What a schedule says of a frame."""

    reason: str
    """Why it must be a keyframe; '' for a non-key frame."""
    change_score: float = math.nan
    """How much the frame differs from the keyframe; nan where nothing was compared."""

    @property
    def is_keyframe(self) -> bool:
        """Whether the frame must be a keyframe."""
        return bool(self.reason)


class Schedule(Protocol):
    """Decides which frames are keyframes and keeps what it must know of the last one.

    First frame, size change, a time that goes back or leaps, feature age and reset make a keyframe
    under every schedule: those are rules of `KeyframeStream`.
    """

    @property
    def uses_feature(self) -> bool:
        """Whether `Observation.feature` must be given."""
        ...

    def decide(self, seen: Observation) -> Decision:
        """Judge a frame after the last keyframe, of age 1 at least."""
        ...

    def set_keyframe(self, seen: Observation) -> None:
        """Take what was seen of a new keyframe, for whatever reason it became one."""
        ...

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """Judge every frame of a recorded clip in order, looking at none before it is asked for.

        Leaves the schedule itself as it is. There are no stamps: limits in seconds do not count.

        Args:
            num_frames: Length of the clip.
            look: Gives image and feature of a frame; only called where the schedule needs it.
            start: First keyframe, from 0 and inside the clip.

        Raises:
            ValueError: If `start` is outside the clip.
        """
        ...


class FixedScheduler:
    """A keyframe every `keyframe_interval` frames (the paper's K)."""

    uses_feature = False

    def __init__(self, options: ScheduleOptions) -> None:
        """Take the interval from the options."""
        self._interval = options.keyframe_interval

    def decide(self, seen: Observation) -> Decision:
        """See `Schedule.decide`; the reason is 'interval'."""
        interval = round(seen.phase * self._interval) or self._interval
        return Decision('interval' if seen.age >= interval else '')

    def set_keyframe(self, seen: Observation) -> None:
        """See `Schedule.set_keyframe`; only the age counts here."""

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """See `Schedule.decide_clip`; keyframes at `start`, `start` + interval, ..."""
        check_start(start, num_frames)
        for age in range(-start, num_frames - start):
            is_due = age >= 0 and age % self._interval == 0
            yield Decision('' if not is_due else 'interval' if age else 'first')


def check_start(start: int, num_frames: int) -> None:
    """Raise ValueError unless a frame lies inside a clip."""
    if not 0 <= start < max(num_frames, 1):
        raise ValueError(
            f'`start` must be at least 0 and inside the clip of {num_frames} frames, got {start}'
        )
