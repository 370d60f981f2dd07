"""`ScheduleOptions` and `EngineOptions`: every option of the engine, with its one default.

Library, node parameters, command line, evaluation, replay and benchmark fill these and have no
defaults of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from dcfm_ros.models.config import MOTIONS
from dcfm_ros.option_spec import check_options, option

SCHEDULES = ('fixed', 'adaptive')
SCORES = ('image', 'feature')
EXECUTIONS = ('sync', 'amortised')
BACKENDS = ('auto', 'torch', 'openvino')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16')


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
        0.036,
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


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How the network is run; fixed when the engine is made.

    Raises:
        ValueError: If a value is not allowed.
    """

    device: str = option(
        'auto',
        'Where the network runs; auto: CUDA if there is a GPU, else the CPU.',
        choices=('auto', 'cpu', 'cuda'),
        pattern=r'cuda:\d{1,3}',
        pattern_text='cuda:N',
    )
    backend: str = option(
        'auto',
        'What runs the network; auto: OpenVINO on a CPU if it is installed, else PyTorch (torch).',
        choices=BACKENDS,
    )
    precision: str = option(
        'auto',
        'Number format of the network; bf16 and fp16 need torch. auto: that of the checkpoint, '
        'or bf16 in OpenVINO on a CPU with hardware for it.',
        choices=PRECISIONS,
    )
    execution: str = option(
        'sync',
        'When the deep encoder of a keyframe runs: on the keyframe (sync), or in slices, one per '
        'frame (amortised).',
        choices=EXECUTIONS,
    )
    execution_slices: int = option(
        0,
        'Slices of an amortised keyframe; 0: keyframe_interval, or 4 if adaptive.',
        maximum=1000,
        unit='frames',
    )
    motion: str = option(
        'auto',
        'How the common feature follows the scene after its keyframe: it stays in place (none, as '
        'in the paper) or moves along the optical flow (flow); auto: as the checkpoint says.',
        choices=('auto', *MOTIONS),
    )
    inference_height: int = option(
        0,
        "Image rows that the network works at, at most the camera's; 0: what the weights were "
        "trained for, or the camera's if that is unknown.",
        maximum=4320,
        unit='px',
    )

    def __post_init__(self) -> None:
        check_options(self)

    def num_slices(self, schedule: ScheduleOptions) -> int:
        """Frames that share the deep encoder of one keyframe under a schedule."""
        if self.execution == 'sync':
            return 1
        default = schedule.keyframe_interval if schedule.schedule == 'fixed' else 4
        return self.execution_slices or default
