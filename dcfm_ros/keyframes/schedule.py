"""Rules for keyframes, which `KeyframeSelector` applies: what one is, and a fixed interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.keyframes.schedule_options import ScheduleOptions

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """What a schedule is shown of a frame."""

    image: Image
    """RGB, (H, W, 3), at the size that the network works at."""
    digest: NDArray[np.float32] | None = None
    """`Backend.digest` of the frame; may be None unless the schedule `uses_feature`."""
    age: int = 0
    """Frames since the last keyframe."""
    phase: float = 0.0
    """Share of a fixed interval, in [0, 1), after which the next keyframe is due; 0: all of it.
    Set after a keyframe that several cameras may share, so that they take turns from then on."""


class Decision(NamedTuple):
    """What a schedule decides about a frame."""

    reason: str
    """Why it must be a keyframe; '' for a non-key frame."""
    change_score: float = math.nan
    """How much the frame differs from the keyframe; nan if nothing was compared."""

    @property
    def is_keyframe(self) -> bool:
        """Whether the frame must be a keyframe."""
        return bool(self.reason)


class Schedule(Protocol):
    """Decides which frames are keyframes and keeps what it needs from the last one.

    First frame, size change, time jump, time gap, feature age and reset make a keyframe under
    every schedule: those rules are in `KeyframeSelector`.
    """

    @property
    def uses_feature(self) -> bool:
        """Whether `Observation.digest` must be given."""
        ...

    def decide(self, seen: Observation) -> Decision:
        """Judge a frame that comes after a keyframe."""
        ...

    def set_keyframe(self, seen: Observation) -> None:
        """Take a new keyframe, whatever its reason."""
        ...

    def decide_clip(
        self, num_frames: int, look: Callable[[int], Observation], start: int = 0
    ) -> Iterator[Decision]:
        """Judge every frame of a recorded clip, in order and lazily.

        Leaves the schedule itself as it is. A clip has no stamps: limits in seconds do not apply.

        Args:
            num_frames: Length of the clip.
            look: Returns image and digest of a frame; called only if the schedule needs them.
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
        """See `Schedule.set_keyframe`; there is nothing to keep."""

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
