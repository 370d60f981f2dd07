"""`ScheduleOptions`: when a frame becomes a keyframe, with the one default of every option.

Library, node parameters, command line, evaluation, replay and benchmark fill these and have no
defaults of their own; so it is with `EngineOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcfm_ros.option_spec import check_options, option

SCHEDULES = ('fixed', 'adaptive')
SCORES = ('image', 'feature')


@dataclass(frozen=True, kw_only=True)
class ScheduleOptions:
    """When a frame becomes a keyframe; may be changed between two frames.

    Raises:
        ValueError: If a value is not allowed, on its own or beside the others.
    """

    schedule: str = option(
        'fixed',
        'When keyframes are due: every keyframe_interval frames (fixed), or when the scene has '
        'changed by change_threshold since the last one (adaptive).',
        choices=SCHEDULES,
    )
    keyframe_interval: int = option(
        3,
        'Frames from keyframe to keyframe, if fixed; 1 makes every frame a keyframe.',
        minimum=1,
        maximum=1000,
        unit='frames',
    )
    keyframe_score: str = option(
        'feature',
        'What the change is measured on, if adaptive: image or independent feature.',
        choices=SCORES,
    )
    change_threshold: float = option(
        0.1,
        'Change since the last keyframe that triggers the next one, if adaptive, on the scale of '
        'keyframe_score; 0 makes every frame a keyframe.',
        maximum=100.0,
    )
    min_keyframe_interval: int = option(
        0,
        'Minimum frames from keyframe to keyframe, if adaptive; 0: no limit.',
        maximum=1000,
        unit='frames',
    )
    max_keyframe_interval: int = option(
        0,
        'Maximum frames from keyframe to keyframe, if adaptive; 0: no limit.',
        maximum=1000,
        unit='frames',
    )
    max_feature_age_s: float = option(
        0.0,
        'Maximum age of the common feature behind a mask, by header stamps; a frame that would '
        'need an older one computes its own. 0: no limit.',
        maximum=3600.0,
        unit='s',
    )
    max_time_gap_s: float = option(
        1.0,
        'Longest gap between two frames, by header stamps; a frame after a longer one becomes a '
        'keyframe. 0: no limit.',
        maximum=3600.0,
        unit='s',
    )

    def __post_init__(self) -> None:
        check_options(self)
        low, high = self.min_keyframe_interval, self.max_keyframe_interval
        if 0 < high < low:
            raise ValueError(
                f'`max_keyframe_interval` must be 0 or at least `min_keyframe_interval` ({low}), '
                f'got {high}'
            )
