"""What the paper prints of speed and size (Tables II, VIII, IX): VSPW, 480x853, one V100, batch 1.

A subset of `training/published.yaml`, which is not to be had where only the robot's part is.
"""

from __future__ import annotations

from typing import NamedTuple

CAMERA_HZ = 15.0
"""Rate of VSPW: a B-mode frame waits for the next keyframe."""


class Cost(NamedTuple):
    """A row of Table II."""

    params_m: float
    gmacs: float
    """Printed as GFLOPs; they are 1e9 multiply-adds. Of DCFM too much, see `Published.gmacs`."""
    fps: float


class Published(NamedTuple):
    """What the paper prints of one backbone."""

    image: Cost
    """SegFormer, without fusion."""
    video: dict[int, Cost]
    """DCFM by keyframe interval, B mode."""
    gmacs: dict[int, float]
    """Multiply-adds of `video` with fusion and head of a keyframe counted once. The paper counts
    them twice, as if a keyframe were fused with two others; it is fused with itself."""
    frame_ms: dict[str, float]
    """Table IX, mean time per frame at interval 2, by mode."""
    latency_ms: dict[str, float]
    """Table IX, worst latency at interval 2, by mode."""
    stages: dict[str, tuple[float | None, float | None, float | None]]
    """Table VIII: ms of SegFormer, keyframe and non-key frame (B mode) by stage."""


PUBLISHED = {
    'mit_b2': Published(
        image=Cost(24.8, 34.2, 44.1),
        video={1: Cost(24.8, 38.9, 42.0), 2: Cost(24.8, 22.9, 67.6), 6: Cost(24.8, 12.3, 113.6)},
        gmacs={1: 36.18, 2: 21.6, 6: 11.8},
        frame_ms={'both': 14.8, 'past': 13.8},
        latency_ms={'both': 90.5, 'past': 23.8},
        stages={},
    ),
    'mit_b5': Published(
        image=Cost(82.1, 102.3, 13.9),
        video={1: Cost(82.1, 107.0, 13.7), 2: Cost(82.1, 57.0, 25.4), 6: Cost(82.1, 23.6, 58.8)},
        gmacs={1: 104.24, 2: 55.6, 6: 23.2},
        frame_ms={'both': 39.4, 'past': 38.4},
        latency_ms={'both': 136.7, 'past': 70.0},
        stages={
            'encoder_low': (2.5, 2.5, 2.5),
            'encoder_high': (68.6, 68.6, None),
            'fusion': (None, 1.1, 1.6),
            'head': (0.7, 0.7, 1.7),
            'total': (71.8, 72.9, 5.8),
        },
    ),
}
"""By backbone, for the 124 classes of VSPW."""


def published(backbone: str, num_classes: int) -> Published | None:
    """What the paper prints of a network, None if nothing."""
    return PUBLISHED.get(backbone) if num_classes == 124 else None
