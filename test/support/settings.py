"""Schedules, engines and settings of an evaluation in few words."""

from __future__ import annotations

from typing import Any

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.setting import Setting


def schedule(
    interval: int = 2, threshold: float | None = None, max_interval: int = 0, score: str = 'image'
) -> ScheduleOptions:
    """Fixed, or adaptive with a threshold: `interval` is then the least."""
    if threshold is None:
        return ScheduleOptions(keyframe_interval=interval, max_time_gap_s=0.0)
    return ScheduleOptions(
        schedule='adaptive',
        keyframe_score=score,
        change_threshold=float(threshold),
        min_keyframe_interval=interval,
        max_keyframe_interval=max_interval,
        max_time_gap_s=0.0,
    )


def setting(
    *, mode: str = 'past', phases: str = 'all', execution: str = 'sync', slices: int = 0, **of: Any
) -> Setting:
    """A setting of such a schedule."""
    how: dict[str, Any] = {'execution': execution, 'slices': slices}
    return Setting(keyframes=schedule(**of), mode=mode, phases=phases, **how)


def cpu_engine(
    net: DCFM, keyframes: ScheduleOptions | int = 3, **options: Any
) -> SegmentationEngine:
    """An engine on the CPU under a schedule, or a fixed interval."""
    if isinstance(keyframes, int):
        keyframes = schedule(keyframes)
    return SegmentationEngine(net, EngineOptions(device='cpu', **options), keyframes)
