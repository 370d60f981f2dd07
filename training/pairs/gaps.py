"""How far apart in time the two frames of a training pair are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


class Gaps(ABC):
    """Draws the distance between reference frame and labelled frame."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, rate_hz: float) -> int:
        """Frames from the reference frame to the labelled one; negative: it comes after.

        Args:
            rng: Source of randomness.
            rate_hz: Frame rate of the clip that the pair is taken from.
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


class AgeMatchedGaps(Gaps):
    """The ages at which a deployed schedule reuses a keyframe, as often as it does.

    A keyframe interval of K serves the ages 1 to K-1 equally often; several intervals share alike.
    The paper trains on direct neighbours only and deploys up to K = 6.
    """

    def __init__(
        self,
        keyframe_intervals: Sequence[int] = (2, 4, 8),
        age_shares: Sequence[float] | None = None,
        future_share: float = 0.0,
        camera_rate_hz: float | None = 15.0,
    ) -> None:
        """Describe the schedule.

        Args:
            keyframe_intervals: Intervals to prepare for, at least 2 each, in frames.
            age_shares: Instead of intervals: how often a non-key frame is 1, 2, ... frames old
                (relative), for example from the adaptive rows of an evaluation.
            future_share: Share of pairs whose reference comes AFTER the labelled frame, as in
                the bidirectional mode, in [0, 1].
            camera_rate_hz: Frame rate of the deployed camera: an age of 3 of its frames is 6
                frames of a 30 Hz video at 15 Hz. None: ages are frames of the clip.

        Raises:
            ValueError: If a value is outside these.
        """
        if age_shares is not None:
            shares = np.array(age_shares, np.float64)
            if shares.ndim != 1 or not shares.size or shares.min() < 0 or not shares.sum() > 0:
                raise ValueError(f'`age_shares` must be at least 0, one above, got {age_shares}')
        else:
            if not keyframe_intervals or min(keyframe_intervals) < 2:
                got = list(keyframe_intervals)
                raise ValueError(f'`keyframe_intervals` must be at least 2 each, got {got}')
            shares = np.zeros(max(keyframe_intervals) - 1)
            for interval in keyframe_intervals:
                shares[: interval - 1] += 1 / (interval - 1)
        if not 0 <= future_share <= 1:
            raise ValueError(f'`future_share` must be in [0, 1], got {future_share}')
        if camera_rate_hz is not None and not camera_rate_hz > 0:
            raise ValueError(f'`camera_rate_hz` must be above 0, got {camera_rate_hz}')
        self.age_shares = shares / shares.sum()
        """Share of the ages 1, 2, ..., in camera frames."""
        self.future_share = future_share
        self.camera_rate_hz = camera_rate_hz

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
