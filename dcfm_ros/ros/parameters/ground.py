"""`GroundParameters`: the table of ground_grid_node's parameters."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from dcfm_ros.option_spec import check_options, option
from dcfm_ros.ros.parameters.spec import LIVE, START


def _labels(default: tuple[str, ...], description: str) -> Any:
    return option(
        default, description, changeable=LIVE, pattern=r'.+', pattern_text='class names or ids'
    )


def _metres(default: float, description: str, maximum: float, minimum: float = 0.0) -> Any:
    return option(
        default, description, changeable=START, minimum=minimum, maximum=maximum, unit='m'
    )


def _angle(description: str) -> Any:
    return option(
        0.0, description, changeable=START, minimum=-math.pi, maximum=math.pi, unit='rad'
    )


@dataclass(frozen=True, kw_only=True)
class GroundParameters:
    """Values of all parameters.

    Raises:
        ValueError: If a value is not allowed.
    """

    base_frame: str = option(
        'base_footprint',
        'Frame of the grid: x forward, y left, z up, the ground at z = 0.',
        changeable=START,
    )
    free_labels: tuple[str, ...] = _labels(
        ('road', 'pavement'), 'Classes, by name or id, of ground that is free.'
    )
    ignore_labels: tuple[str, ...] = _labels(
        ('sky',),
        'Classes, by name or id, that are neither ground nor an obstacle; 255 (unlabelled) always '
        "is; ['']: no others.",
    )
    resolution: float = _metres(0.05, 'Side of a cell.', 1.0, 0.01)
    ahead: float = _metres(10.0, 'What the grid covers ahead of the base.', 50.0, 0.5)
    behind: float = _metres(0.0, 'What it covers behind the base.', 50.0)
    aside: float = _metres(5.0, 'What it covers to either side.', 50.0, 0.5)
    min_range: float = _metres(
        0.0,
        'Ground nearer to the point below the camera is not looked at: the robot itself may be in '
        'the image.',
        50.0,
    )
    max_range: float = _metres(10.0, 'Ground farther than this is unknown.', 70.0, 0.5)
    min_obstacle_height: float = _metres(
        0.05, 'What is lower hides nothing behind it and is unknown, not occupied.', 5.0
    )
    min_confidence: float = option(
        0.0,
        'Lowest confidence of free ground; what is less sure is unknown. Above 0 masks wait for '
        'confidence.',
        changeable=START,
        maximum=1.0,
    )
    votes: int = option(
        1,
        'Masks that vote on each cell; with more than 1, odometry on odom moves the former ones.',
        changeable=START,
        minimum=1,
        maximum=50,
    )
    is_rectified: bool = option(
        False,
        'Whether masks are of rectified images: P of camera_info counts, not K and distortion.',
        changeable=START,
    )
    camera_height: float = _metres(
        0.0,
        'Height of the camera above the ground, if it is fixed to the base; 0: its pose is from '
        'TF.',
        50.0,
    )
    camera_x: float = _metres(0.0, 'Place of the camera ahead of the base.', 50.0, -50.0)
    camera_y: float = _metres(0.0, 'Place of the camera to the left of the base.', 50.0, -50.0)
    camera_roll: float = _angle('Turn of the camera around its forward axis; positive: clockwise.')
    camera_pitch: float = _angle('Turn of the camera; positive: it looks down.')
    camera_yaw: float = _angle('Turn of the camera; positive: it looks to the left.')
    no_image_warning_s: float = option(
        5.0,
        'Time without a mask, or without a grid, before diagnostics warn; 0: never.',
        changeable=LIVE,
        maximum=3600.0,
        unit='s',
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.min_range >= self.max_range:
            raise ValueError(
                f'`min_range` must be below max_range ({self.max_range}), got {self.min_range}'
            )
