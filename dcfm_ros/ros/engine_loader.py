"""From the node's parameters to engines that are ready for their first frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import math
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.adaptive_schedule import AdaptiveScheduler
from dcfm_ros.keyframes.schedule import FixedScheduler, Schedule
from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint, read_metadata

if TYPE_CHECKING:
    from dcfm_ros.ros.parameters.segmentation import NodeParameters

_LIBRARY_THREADS = (torch.get_num_threads(), cv2.getNumThreads())
_WARM_UP_HEIGHT = 480


def settle_checkpoint(parameters: NodeParameters) -> NodeParameters:
    """Put the path of the file that is meant in place of what parameter `checkpoint` says.

    Done once: the diagnostics go on telling what was loaded when the file is gone.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
    """
    return replace(parameters, checkpoint=str(find_checkpoint(parameters.checkpoint)))


def load_engines(
    parameters: NodeParameters, log: Callable[[str], None]
) -> list[SegmentationEngine]:
    """Load the checkpoint, build an engine for each camera and run what they share once.

    Args:
        parameters: The node's, with a `checkpoint` that is settled.
        log: Told in words what was done and how long it took.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the file cannot be used.
        ValueError: If the device is absent.
        ImportError: If the backend is not installed.
    """
    path = parameters.checkpoint
    _limit_threads(parameters.cpu_threads)
    start = time.perf_counter()
    height = parameters.inference_height or read_metadata(path).image_height
    net = load_checkpoint(path)
    log(f'loaded {path} ({net.config.backbone}, {net.config.num_classes} classes)')
    loaded = time.perf_counter()
    engine = SegmentationEngine(
        net,
        device=parameters.device,
        backend=parameters.backend,
        schedule=make_schedule(parameters),
        inference_height=height or None,
        execution=parameters.execution,
        slices=parameters.execution_slices or None,
        motion=parameters.motion,
        precision=parameters.precision,
    )
    rows = height or _WARM_UP_HEIGHT
    blank = np.zeros((rows, rows * 4 // 3, 3), np.uint8)
    # As a clip: the first image of the camera is no successor of blanks.
    for _ in engine.segment_clip([blank, blank]):
        pass
    ready = time.perf_counter()
    log(
        f'ready on {engine.device} ({engine.backend}): loading {loaded - start:.2f} s, '
        f'warm-up at {blank.shape[1]} x {rows} {ready - loaded:.2f} s'
    )
    count = len(parameters.cameras) or 1
    engines = [engine, *(engine.for_another_camera(i / count) for i in range(1, count))]
    for engine in engines:
        adjust(engine, parameters)
    return engines


def make_schedule(parameters: NodeParameters) -> Schedule:
    """The schedule that the parameters ask for."""
    max_interval = parameters.max_keyframe_interval or None
    max_interval_s = parameters.max_keyframe_interval_s or None
    if parameters.schedule == 'fixed':
        interval = min(parameters.keyframe_interval, max_interval or math.inf)
        return FixedScheduler(int(interval), max_interval_s=max_interval_s)
    return AdaptiveScheduler(
        parameters.change_threshold,
        parameters.min_keyframe_interval or 1,
        max_interval,
        score=parameters.keyframe_score,
        min_interval_s=parameters.min_keyframe_interval_s,
        max_interval_s=max_interval_s,
        confidence_drop=parameters.confidence_drop or None,
    )


def adjust(engine: SegmentationEngine, parameters: NodeParameters) -> None:
    """Give an engine, between two frames, what can change at any time and has changed."""
    schedule = make_schedule(parameters)
    if schedule.settings() != engine.schedule.settings():
        engine.use_schedule(schedule)
    engine.max_age = parameters.max_feature_age or None
    engine.max_age_s = parameters.max_feature_age_s or None
    engine.max_time_gap_s = parameters.max_time_gap_s or None


def describe(engines: Sequence[SegmentationEngine], checkpoint: str) -> dict[str, str]:
    """Facts of the loaded engines, which share a network, for the diagnostics."""
    engine = next((engine for engine in engines if engine.backend_failure), engines[0])
    facts = {
        'device': engine.device,
        'backend': engine.backend,
        'precision': engine.precision,
        'checkpoint': checkpoint,
        **{name: str(v) for name, v in engine.schedule.settings().items() if v is not None},
        'execution': engine.execution,
        'motion': engine.motion,
        'inference_height': str(engine.inference_height or 'camera'),
    }
    if engine.backend_failure:
        facts['backend_failure'] = engine.backend_failure
    if engine.device != 'cpu':
        facts['gpu_memory_mb'] = f'{torch.cuda.memory_reserved(engine.device) / 1e6:.0f}'
    return facts


def _limit_threads(count: int) -> None:
    torch_threads, cv2_threads = (count, count) if count else _LIBRARY_THREADS
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(cv2_threads)
