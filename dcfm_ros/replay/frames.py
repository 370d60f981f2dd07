"""`ReplayedFrame`: a frame of a recording and what became of it, in the engine or in the node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray


@dataclass(kw_only=True)
class ReplayedFrame:
    """What a report keeps of one frame; `ReplayRecorder` fills in what its mask shows."""

    stamp_ns: int
    """Header stamp."""
    time_s: float = 0.0
    """The same since the first frame, s."""
    is_answered: bool = True
    """False if the frame was dropped."""
    drop_cause: str = ''
    """Why it was dropped, if known."""
    is_keyframe: bool = False
    reason: str = ''
    """Why it is a keyframe; '' if it is not."""
    keyframe_age: int | None = None
    """Frames since the keyframe whose common feature was used; None if unknown."""
    feature_age_ms: float = math.nan
    """The same between the header stamps."""
    change_score: float = math.nan
    """Change since the last keyframe, in an adaptive schedule."""
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float = math.nan
    """From sending (or reading) the frame to having its mask; nan if dropped."""
    sent_s: float = math.nan
    """When it was sent, on a steady clock."""
    received_s: float = math.nan
    """When its mask was there, on the same clock; nan if dropped."""
    class_shares: NDArray[np.float64] | None = None
    """Share of the mask's pixels per class, (K,)."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Shares of its pixels, from `RunQuality.add`."""

    @property
    def is_timed(self) -> bool:
        """Whether it is known how the mask was made: the schedule, and what its stages took."""
        return self.is_answered and self.keyframe_age is not None

    @property
    def is_deep(self) -> bool:
        """Whether the deep encoder worked on it: keyframes, unless their work is sliced.

        False if it is not timed.
        """
        return 'common' in self.stage_ms


def stages_of(frames: Iterable[ReplayedFrame]) -> list[str]:
    """Stages of all frames, in the order in which a frame goes through them.

    A stage that only some frames have comes before the one that follows it in them.
    """
    names: list[str] = []
    for order in dict.fromkeys(tuple(frame.stage_ms) for frame in frames):
        place = len(names)
        for name in reversed(order):
            if name not in names:
                names.insert(place, name)
            place = names.index(name)
    return names


def by_depth(
    frames: Sequence[ReplayedFrame],
) -> Iterator[tuple[bool | None, list[ReplayedFrame]]]:
    """Answered frames by `is_deep`: False, True, and None for those not timed if there are any."""
    answered = [frame for frame in frames if frame.is_answered]
    for is_deep in (False, True):
        yield is_deep, [f for f in answered if f.is_timed and f.is_deep == is_deep]
    if unknown := [frame for frame in answered if not frame.is_timed]:
        yield None, unknown
