"""Frames to play to a node, and a short drive to record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dcfm_ros.play.player import PlayedFrame, connect, play
from dcfm_ros.play.report import PlayReport
from dcfm_ros.synthetic.drive import DriveConfig

STEP_MS = 40.0
DRIVE = DriveConfig(num_frames=12, height=96, width=128, rate_hz=10.0)
"""What the fixture `drive_bag` holds."""


def random_frames(count: int, height: int = 96, width: int = 128) -> Iterator[PlayedFrame]:
    """Noise, the same each time."""
    random = np.random.default_rng(0)
    for index in range(count):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        yield PlayedFrame(image=image, stamp_ns=10**18 + index * int(STEP_MS * 1e6))


def play_once(
    frames: Iterable[PlayedFrame],
    *,
    rate_hz: float | None = None,
    timeline: bool = False,
    wait_s: float = 30.0,
    **connection: Any,
) -> PlayReport:
    """Connect to a node for one play."""
    with connect(**connection) as player:
        return play(player, frames, rate_hz=rate_hz, timeline=timeline, wait_s=wait_s)
