"""`EngineOptions`: how the network is run, with the one default of every option."""

from __future__ import annotations

from dataclasses import dataclass

from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.config import MOTIONS, NetworkConfig
from dcfm_ros.option_spec import check_options, option

EXECUTIONS = ('sync', 'amortised')
BACKENDS = ('auto', 'torch', 'openvino')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16', 'int8')


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
        'Number format of the network; bf16 and fp16 need torch, int8 OpenVINO and a file of dcfm '
        'quantise. auto: that of the checkpoint; in OpenVINO, where the CPU has hardware for it, '
        'int8 if its masks are close enough, else bf16.',
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
    mask_blending: float = option(
        -1.0,
        'Share of the last keyframe, moved along the flow, in the class scores of a frame where '
        'the image has not changed: steadier masks. 0: every frame stands for itself; -1: 0.5 for '
        'DCFM, 0 for networks of other libraries, whose keyframes then have the masks of the '
        'library.',
        minimum=-1.0,
        maximum=0.95,
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

    def motion_of(self, config: NetworkConfig) -> str:
        """`motion` as it is in effect for a network."""
        return config.motion if self.motion == 'auto' else self.motion

    def blending_of(self, config: NetworkConfig) -> float:
        """`mask_blending` as it is in effect for a network: 0 where nothing follows the flow."""
        given = config.mask_blending if self.mask_blending < 0 else self.mask_blending
        return given if self.motion_of(config) == 'flow' else 0.0

    def num_slices(self, schedule: ScheduleOptions) -> int:
        """Frames that share the deep encoder of one keyframe under a schedule."""
        if self.execution == 'sync':
            return 1
        default = schedule.keyframe_interval if schedule.schedule == 'fixed' else 4
        return self.execution_slices or default
