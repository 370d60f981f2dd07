"""Where keyframes lie in the clips of an evaluation, and how they are used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

MODES = ('past', 'both')
PHASES = ('all', 'first', 'video-index')


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where keyframes lie and how they are used, for one row of figures."""

    keyframes: ScheduleOptions = field(default_factory=ScheduleOptions)
    """Which frames become keyframes. Times between frames never make one."""
    mode: str = 'past'
    """'past' (P mode, live) or 'both' (B mode: the following keyframe too, offline)."""
    phases: str = 'all'
    """First keyframe of a clip: 'first' is its first frame; 'all' each of its first `interval`
    frames in turn, pooled; 'video-index' the number of the clip modulo `interval`, as the paper's
    code has it. With 'all' a label is met at every age; in P mode only from frame `interval` - 1
    on, and frame j before it at ages 0 to j, for nothing precedes a clip. An adaptive schedule
    begins with the first frame (paper IV-D): 'all' becomes 'first'."""
    execution: str = 'sync'
    """As in `EngineOptions`. The first keyframe of a pass is done at once: frames that would not
    have its feature yet in a long run are run, but not counted. In one slice it is 'sync'."""
    slices: int = 0
    """`execution_slices` of `EngineOptions`."""

    is_stream: bool = True
    """Whether class scores are blended with those of earlier frames, as `EngineOptions` say;
    never in mode 'both'."""

    def __post_init__(self) -> None:
        for name, allowed in (('mode', MODES), ('phases', PHASES)):
            if getattr(self, name) not in allowed:
                listed = ' or '.join(map(repr, allowed))
                raise ValueError(f'`{name}` must be {listed}, got {getattr(self, name)!r}')
        if self.phases == 'video-index' and self.mode == 'past':
            raise ValueError(
                "`phases` must be 'first' or 'all' in mode 'past': frames before the first "
                "keyframe have no past, and the paper's code starts P mode with the first frame"
            )
        keyframes = replace(self.keyframes, max_time_gap_s=0.0, max_feature_age_s=0.0)
        object.__setattr__(self, 'keyframes', keyframes)
        self._check_execution()
        if self.mode == 'both':
            object.__setattr__(self, 'is_stream', False)
        if self.delay == 0:
            object.__setattr__(self, 'execution', 'sync')
            object.__setattr__(self, 'slices', 0)
        if self.is_adaptive and self.phases == 'all':
            object.__setattr__(self, 'phases', 'first')

    @property
    def is_adaptive(self) -> bool:
        """Whether keyframes follow change in the images."""
        return self.keyframes.schedule == 'adaptive'

    @property
    def interval(self) -> int:
        """Frames from keyframe to keyframe; the least (the paper's MinK) if adaptive."""
        if self.is_adaptive:
            return max(1, self.keyframes.min_keyframe_interval)
        return self.keyframes.keyframe_interval

    @property
    def needs_network(self) -> bool:
        """Whether the network has a say in what is a keyframe."""
        return self.is_adaptive and self.keyframes.keyframe_score == 'feature'

    @property
    def num_slices(self) -> int:
        """Frames that share the deep encoder of a keyframe."""
        return self.of_engine(EngineOptions()).num_slices(self.keyframes)

    @property
    def delay(self) -> int:
        """Frames from a keyframe to the first one that uses its feature."""
        return self.num_slices - 1

    def values(self) -> dict[str, object]:
        """What a row says of it; None where it does not apply."""
        keyframes, adaptive = self.keyframes, self.is_adaptive
        return {
            'interval': None if adaptive else self.interval,
            'mode': self.mode,
            'schedule': keyframes.schedule,
            'execution': self.execution,
            'slices': self.num_slices if self.delay else None,
            'threshold': keyframes.change_threshold if adaptive else None,
            'min_interval': self.interval if adaptive else None,
            'max_interval': (keyframes.max_keyframe_interval or None) if adaptive else None,
            'keyframe_score': keyframes.keyframe_score if adaptive else None,
            'phases': self.phases,
        }

    def of_engine(self, options: EngineOptions) -> EngineOptions:
        """Options of an engine with the execution of this setting."""
        return replace(
            options,
            execution=self.execution,
            execution_slices=self.slices,
            mask_blending=options.mask_blending if self.is_stream else 0.0,
        )

    def starts(self, num_frames: int, clip_index: int) -> Sequence[int]:
        """First keyframes of the passes over a clip."""
        if self.phases == 'video-index':
            return (min(clip_index % self.interval, num_frames - 1),)
        return (0,) if self.phases == 'first' else range(min(self.interval, num_frames))

    def _check_execution(self) -> None:
        if self.execution == 'sync' and self.slices:
            raise ValueError("`slices` must be 0 where `execution` is 'sync'")
        if self.execution != 'sync' and self.mode == 'both':
            raise ValueError("`execution` must be 'sync' in mode 'both', which is not live")
        if not self.is_adaptive and self.num_slices > self.interval:
            allowed = f'from 1 to the interval ({self.interval})'
            raise ValueError(f'`slices` must be {allowed}, got {self.slices}')


ALL_KEYFRAMES = Setting(keyframes=ScheduleOptions(keyframe_interval=1), phases='first')
"""Every frame a keyframe, of a stream."""
PER_FRAME = replace(ALL_KEYFRAMES, is_stream=False)
"""Every frame by itself: what the network does to images."""


def settings_of(
    schedules: Iterable[ScheduleOptions],
    executions: Sequence[str] = ('sync',),
    slices: int = 0,
    *,
    mode: str = 'past',
    phases: str = 'all',
) -> list[Setting]:
    """Every schedule in every execution, a setting each; `slices` are of the amortised ones.

    Raises:
        ValueError: If they do not go together.
    """
    if slices and 'amortised' not in executions:
        raise ValueError(f'`slices` ({slices}) needs `executions` with amortised')
    chosen = tuple(schedules)
    settings = [
        Setting(
            keyframes=keyframes,
            mode=mode,
            phases=phases,
            execution=execution,
            slices=slices if execution == 'amortised' else 0,
        )
        for execution in executions
        for keyframes in chosen
    ]
    return list(dict.fromkeys(settings))  # in one slice, amortised is sync
