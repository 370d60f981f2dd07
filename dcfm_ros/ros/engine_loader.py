"""From the node's parameters to engines that are ready for their first frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
import time
from typing import TYPE_CHECKING

import numpy as np

from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
from dcfm_ros.threads import set_num_threads

if TYPE_CHECKING:
    from dcfm_ros.ros.parameters.segmentation import NodeParameters

_WARM_UP_HEIGHT = 480


def load_engines(
    parameters: NodeParameters, log: Callable[[str], None]
) -> tuple[list[SegmentationEngine], Path]:
    """Load the checkpoint, make an engine for each camera and warm up what they share.

    Args:
        parameters: The node's.
        log: Logs what was done and how long it took.

    Returns:
        The engines, and the file that was loaded.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If the file cannot be used; further as `load_network`.
    """
    path, options = find_checkpoint(parameters.checkpoint), parameters.engine_options
    set_num_threads(parameters.cpu_threads)
    start = time.perf_counter()
    height = options.inference_height or read_metadata(path).image_height
    net = load_network(path, options)
    log(f'loaded {path} ({net.config.title}, {net.config.num_classes} classes)')
    loaded = time.perf_counter()
    engine = SegmentationEngine(
        net, replace(options, inference_height=height), parameters.schedule_options
    )
    rows = height or _WARM_UP_HEIGHT
    blank = np.zeros((rows, rows * 4 // 3, 3), np.uint8)
    # As a clip: the first image of the camera does not follow the blank ones.
    for _ in engine.segment_clip([blank, blank]):
        pass
    ready = time.perf_counter()
    log(
        f'ready on {engine.backend.device} ({engine.backend.name}): loading '
        f'{loaded - start:.2f} s, warm-up at {blank.shape[1]} x {rows} {ready - loaded:.2f} s'
    )
    count = len(parameters.cameras) or 1
    return [engine, *(engine.for_another_camera(i / count) for i in range(1, count))], path


def describe(engines: Sequence[SegmentationEngine], checkpoint: Path) -> dict[str, str]:
    """The engines, which share a network, for the diagnostics: options by name, as in effect."""
    engine = next((engine for engine in engines if engine.backend.failure), engines[0])
    backend = engine.backend
    facts = asdict(engine.in_effect) | {
        'checkpoint': checkpoint,
        'device': backend.device,
        'backend': backend.name,
        'precision': backend.precision,
        'inference_height': engine.options.inference_height or 'camera',
        **asdict(engine.schedule),
    }
    if backend.failure:
        facts['backend_failure'] = backend.failure
    if backend.device != 'cpu':
        import torch

        facts['gpu_memory_mb'] = round(torch.cuda.memory_reserved(backend.device) / 1e6)
    return {name: str(value) for name, value in facts.items()}
