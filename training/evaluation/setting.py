"""Where keyframes lie in the clips of an evaluation, and how they are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcfm_ros.keyframes.adaptive_schedule import AdaptiveScheduler
from dcfm_ros.keyframes.schedule import FixedScheduler, Schedule

EXECUTIONS = ('sync', 'amortised')
MODES = ('past', 'both')
PHASES = ('all', 'first', 'video-index')


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where keyframes lie and how they are used, for one row of figures."""

    interval: int = 2
    """Frames from keyframe to keyframe; of an adaptive schedule the least (the paper's MinK)."""
    threshold: float | None = None
    """Change score that makes a keyframe; None: the schedule is fixed."""
    max_interval: int | None = None
    """Frames from keyframe to keyframe at most, of an adaptive schedule; None: no limit."""
    score: str = 'image'
    """What an adaptive schedule compares, see `AdaptiveScheduler`, like the next."""
    confidence_drop: float | None = None
    """Fall of the mean confidence that makes a keyframe too; None: none does."""
    mode: str = 'past'
    """'past' (P mode, live) or 'both' (B mode: the following keyframe too, offline)."""
    phases: str = 'all'
    """First keyframe of a clip: 'first' is its first frame; 'all' each of its first `interval`
    frames in turn, pooled; 'video-index' the number of the clip modulo `interval`, as the paper's
    code has it. With 'all' a label is met at every age; in P mode only from frame `interval` - 1
    on, and frame j before it at ages 0 to j, for nothing precedes a clip. An adaptive schedule
    begins with the first frame (paper IV-D): 'all' becomes 'first'."""
    execution: str = 'sync'
    """When the deep encoder of a keyframe works, as in `SegmentationEngine`: 'sync' or
    'amortised'. The first keyframe of a pass is done at once: frames that would not have its
    feature yet in a long run are run, but not counted. In one slice it is 'sync'."""
    slices: int | None = None
    """Of an amortised keyframe; None: `interval`."""

    def __post_init__(self) -> None:
        if self.execution == 'async':
            raise ValueError(
                "`execution` must be 'sync' or 'amortised', got 'async': when its features come "
                "depends on the machine; for the same masks take 'amortised' with as many "
                '`slices` as frames go by until its thread is done'
            )
        for name, allowed in (('execution', EXECUTIONS), ('mode', MODES), ('phases', PHASES)):
            if getattr(self, name) not in allowed:
                listed = ' or '.join(map(repr, allowed))
                raise ValueError(f'`{name}` must be {listed}, got {getattr(self, name)!r}')
        if self.phases == 'video-index' and self.mode == 'past':
            raise ValueError(
                "`phases` must be 'first' or 'all' in mode 'past': frames before the first "
                "keyframe have no past, and the paper's code starts P mode with the first frame"
            )
        if self.threshold is None:
            for name, unset in (
                ('max_interval', None),
                ('score', 'image'),
                ('confidence_drop', None),
            ):
                if getattr(self, name) != unset:
                    raise ValueError(f'`{name}` must be {unset} for a fixed schedule')
        if self.mode == 'both' and self.confidence_drop is not None:
            raise ValueError(
                "`confidence_drop` must be None in mode 'both', where the next keyframe is known "
                'before the masks'
            )
        self.scheduler()
        self._check_slices()
        if self.delay == 0:
            object.__setattr__(self, 'execution', 'sync')
            object.__setattr__(self, 'slices', None)
        if self.threshold is not None and self.phases == 'all':
            object.__setattr__(self, 'phases', 'first')

    @property
    def schedule(self) -> str:
        """'fixed' or 'adaptive'."""
        return 'fixed' if self.threshold is None else 'adaptive'

    @property
    def needs_network(self) -> bool:
        """Whether the network has a say in what is a keyframe."""
        return self.score == 'feature' or self.confidence_drop is not None

    @property
    def num_slices(self) -> int:
        """Frames that share the deep encoder of a keyframe."""
        if self.execution == 'sync':
            return 1
        return self.interval if self.slices is None else self.slices

    @property
    def delay(self) -> int:
        """Frames from a keyframe to the first one that uses its feature."""
        return self.num_slices - 1

    def scheduler(self) -> Schedule:
        """A new schedule for the engine."""
        if self.threshold is None:
            return FixedScheduler(self.interval)
        return AdaptiveScheduler(
            self.threshold,
            self.interval,
            self.max_interval,
            score=self.score,
            confidence_drop=self.confidence_drop,
        )

    def starts(self, num_frames: int, clip_index: int) -> Sequence[int]:
        """First keyframes of the passes over a clip."""
        if self.phases == 'video-index':
            return (min(clip_index % self.interval, num_frames - 1),)
        return (0,) if self.phases == 'first' else range(min(self.interval, num_frames))

    def _check_slices(self) -> None:
        if self.execution == 'sync':
            if self.slices is not None:
                raise ValueError("`slices` must be None where `execution` is 'sync'")
            return
        if self.mode == 'both':
            raise ValueError("`execution` must be 'sync' in mode 'both', which is not live")
        if self.threshold is None:
            if not 1 <= self.num_slices <= self.interval:
                allowed = f'from 1 to the interval ({self.interval})'
                raise ValueError(f'`slices` must be {allowed}, got {self.slices}')
        elif self.slices is None or self.slices < 1:
            raise ValueError(f'`slices` must be at least 1 if adaptive, got {self.slices}')
