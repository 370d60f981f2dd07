"""From the node's parameters to an engine that is ready for its first frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint, read_metadata

if TYPE_CHECKING:
    from dcfm_ros.parameters import NodeParameters

_LIBRARY_THREADS = (torch.get_num_threads(), cv2.getNumThreads())
_WARM_UP_HEIGHT = 480


def settle_checkpoint(parameters: NodeParameters) -> NodeParameters:
    """Put the path of the file that is meant in place of what parameter `checkpoint` says.

    Done once: the diagnostics go on telling what was loaded when the file is gone.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
    """
    return replace(parameters, checkpoint=str(find_checkpoint(parameters.checkpoint)))


def load_engine(parameters: NodeParameters, log: Callable[[str], None]) -> SegmentationEngine:
    """Load the checkpoint, build the engine and run it once.

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
        schedule=parameters.keyframe_interval,
        inference_height=height or None,
        execution=parameters.execution,
        slices=parameters.execution_slices or None,
        max_age=parameters.max_feature_age or None,
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
    return engine


def describe(engine: SegmentationEngine, parameters: NodeParameters) -> dict[str, str]:
    """Facts of a loaded engine for the diagnostics."""
    facts = {
        'device': engine.device,
        'backend': engine.backend,
        'checkpoint': parameters.checkpoint,
        'keyframe_interval': str(parameters.keyframe_interval),
        'execution': engine.execution,
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
