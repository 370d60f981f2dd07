"""How far apart in time the two frames of a training pair are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


class Gaps(ABC):
    """Draws the distance between reference frame and labelled frame."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, rate_hz: float) -> int:
        """Frames from the reference frame to the labelled one, in a clip of that frame rate.

        Negative: the reference comes after.
        """

    @abstractmethod
    def farthest(self, rate_hz: float) -> int:
        """Greatest distance that is drawn for a clip of this rate, in its frames."""


@dataclass(frozen=True)
class NeighbourGaps(Gaps):
    """Any frame within `reach`, before or after, equally often (the paper; reach 1)."""

    reach: int = 1
    """Greatest distance R in frames of the clip, at least 1."""

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise ValueError(f'`reach` must be at least 1, got {self.reach}')

    def draw(self, rng: np.random.Generator, rate_hz: float) -> int:
        """A whole number from -R to R without 0."""
        gap = int(rng.integers(1, self.reach + 1))
        return -gap if rng.random() < 0.5 else gap

    def farthest(self, rate_hz: float) -> int:
        """R, at any rate."""
        return self.reach


@dataclass(frozen=True)
class AgeMatchedGaps(Gaps):
    """The ages at which a deployed schedule reuses a keyframe, as often as it does.

    A keyframe interval of K serves the ages 1 to K-1 equally often; several intervals share alike.
    The paper trains on direct neighbours only and deploys up to K = 6.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    keyframe_intervals: Sequence[int] = (2, 4, 8)
    """Intervals to prepare for, at least 2 each, in frames."""
    future_share: float = 0.0
    """Share of pairs whose reference comes AFTER the labelled frame, as in the bidirectional mode,
    in [0, 1]."""
    camera_rate_hz: float | None = 15.0
    """Frame rate of the deployed camera: an age of 3 of its frames is 6 frames of a 30 Hz video at
    15 Hz. None: ages are frames of the clip."""

    def __post_init__(self) -> None:
        if not self.keyframe_intervals or min(self.keyframe_intervals) < 2:
            got = list(self.keyframe_intervals)
            raise ValueError(f'`keyframe_intervals` must be at least 2 each, got {got}')
        if not 0 <= self.future_share <= 1:
            raise ValueError(f'`future_share` must be in [0, 1], got {self.future_share}')
        if self.camera_rate_hz is not None and not self.camera_rate_hz > 0:
            raise ValueError(f'`camera_rate_hz` must be above 0, got {self.camera_rate_hz}')

    @cached_property
    def age_shares(self) -> NDArray[np.float64]:
        """Share of the ages 1, 2, ..., in camera frames."""
        shares = np.zeros(max(self.keyframe_intervals) - 1)
        for interval in self.keyframe_intervals:
            shares[: interval - 1] += 1 / (interval - 1)
        return shares / shares.sum()

    def draw(self, rng: np.random.Generator, rate_hz: float) -> int:
        """An age, in frames of the clip."""
        age = 1 + int(rng.choice(len(self.age_shares), p=self.age_shares))
        gap = self._in_clip(age, rate_hz)
        return -gap if rng.random() < self.future_share else gap

    def farthest(self, rate_hz: float) -> int:
        """The oldest age."""
        return self._in_clip(len(self.age_shares), rate_hz)

    def _in_clip(self, age: int, rate_hz: float) -> int:
        """Frames of a clip that `age` frames of the camera are."""
        if self.camera_rate_hz is None:
            return age
        return max(round(age * rate_hz / self.camera_rate_hz), 1)
