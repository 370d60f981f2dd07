"""The highest rate that loses few frames, found by the rules of NVIDIA's ros2_benchmark.

Method: https://github.com/NVIDIA-ISAAC-ROS/ros2_benchmark. Binary search between two limits until
they are 10 Hz apart, then on in steps of 5 Hz until a rate is not sustained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import math

MAX_LOSS = 0.05
"""Share of the frames that may be missing at a rate that counts as sustained."""
TERMINAL_INTERVAL_HZ = 10.0
"""Width at which the binary search ends; also how far the answers may lag behind the frames."""
STEP_HZ = 5.0
"""Of the linear scan, and how far the answers may lag behind the frames in it."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What came of frames that were sent at a rate for some seconds."""

    rate_hz: float
    """That was asked for."""
    sent: int
    missed: int
    playback_hz: float
    """Rate at which the frames were really sent."""
    answered_hz: float
    """Rate at which the answers came; 0 if fewer than two came."""

    def is_sustained(self, max_lag_hz: float) -> bool:
        """Whether few frames are missing and the answers come as fast as the frames."""
        is_fast = self.answered_hz >= self.playback_hz - max_lag_hz
        return is_fast and self.missed <= math.ceil(self.sent * MAX_LOSS)


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The highest rate that was sustained."""

    rate_hz: float
    limit: str = ''
    """'lower' if not even the lower limit was sustained, and the rate is that limit; 'upper' if a
    higher rate than the upper limit might be."""
    probes: list[Probe] = field(default_factory=list)


def find_peak(probe: Callable[[float], Probe], *, lower_hz: float, upper_hz: float) -> Peak:
    """Search for the highest sustained rate.

    One thing differs from the method: if the search ends at the lower limit, which the method
    never tries, it is tried.

    Args:
        probe: Sends frames at a rate for some seconds. Called once more before the search, to warm
            up what is measured.
        lower_hz: Lower limit.
        upper_hz: Upper limit.
    """
    probe((lower_hz + upper_hz) / 2)
    probes: list[Probe] = []

    def holds(rate_hz: float, max_lag_hz: float) -> bool:
        probes.append(probe(rate_hz))
        return probes[-1].is_sustained(max_lag_hz)

    low, high = lower_hz, upper_hz
    while high - low > TERMINAL_INTERVAL_HZ:
        middle = (low + high) / 2
        if holds(middle, TERMINAL_INTERVAL_HZ):
            low = middle
        else:
            high = middle
    while low + STEP_HZ <= upper_hz and holds(low + STEP_HZ, STEP_HZ):
        low += STEP_HZ
    limit = 'upper' if low + STEP_HZ > upper_hz else ''
    if low == lower_hz and not holds(lower_hz, STEP_HZ):
        limit = 'lower'
    return Peak(rate_hz=low, limit=limit, probes=probes)
