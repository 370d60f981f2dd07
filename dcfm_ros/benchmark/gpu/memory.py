"""GPU memory and resident memory of a stream, in every precision in turn."""

from __future__ import annotations

from collections.abc import Sequence
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from dcfm_ros.benchmark.gpu.case import Case
from dcfm_ros.benchmark.inputs import Model, read_frames
from dcfm_ros.benchmark.memory import growth
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

_INTERVAL = 6
_SAMPLES = 10
_PLAYED = 24
"""Frames that are played again and again."""


def watch_memory(net: Model, case: Case) -> dict[str, Any]:
    """Run a stream at keyframe interval 6 in every precision and watch its memory.

    Returns:
        'memory' (a row per precision, in MB): 'peak_gpu_mb' is the most that PyTorch had
        reserved for it, graphs included; 'gpu_growth_mb' and 'growth_mb' are `growth` of that and
        of the resident memory. 'wrong': precisions that CUDA graphs failed in.
    """
    images = [frame.image for frame in read_frames(None, case.size, _PLAYED)]
    rows, wrong = [], []
    for precision in case.precisions:
        schedule = ScheduleOptions(keyframe_interval=_INTERVAL, max_time_gap_s=0)
        before_mb = _reserved_mb(case)
        engine = SegmentationEngine(net, case.options(precision), schedule)
        figures = _play(engine, case, images)
        if case.is_on_gpu:
            figures['peak_gpu_mb'] -= before_mb
        rows.append({'model': case.model, 'precision': precision, **figures})
        if failure := engine.backend.failure:
            wrong.append(f'{precision}: {failure}')
        del engine
        gc.collect()
        if case.is_on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(case.device)
    return {'memory': rows, 'wrong': wrong}


def _play(
    engine: SegmentationEngine, case: Case, images: Sequence[NDArray[np.uint8]]
) -> dict[str, Any]:
    ends = np.linspace(0, case.watched, _SAMPLES + 1).round().astype(int)[1:].tolist()
    resident, reserved = [], []
    for index in range(case.watched):
        engine.step(images[index % len(images)], index)
        if index + 1 in ends:
            resident.append(_resident_mb())
            reserved.append(_reserved_mb(case))
    on_gpu = case.is_on_gpu
    return {
        'frames': case.watched,
        'peak_gpu_mb': torch.cuda.max_memory_reserved(case.device) / 1e6 if on_gpu else None,
        'gpu_growth_mb': growth(reserved) if on_gpu else None,
        'growth_mb': growth(resident),
    }


def _reserved_mb(case: Case) -> float:
    return torch.cuda.memory_reserved(case.device) / 1e6 if case.is_on_gpu else 0.0


def _resident_mb() -> float:
    # Not by psutil, which a GPU machine need not have.
    pages = int(Path('/proc/self/statm').read_text(encoding='utf-8').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6
