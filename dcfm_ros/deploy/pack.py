"""`dcfm pack`: a checkpoint in half precision, written only if it gives the same masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint, storage_problem
from dcfm_ros.models.checkpoint_header import CheckpointError, read_metadata
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.recordings.sources import SourceFrame

LEAST_AGREEMENT = 0.999
"""Share of equal pixels under which nothing is written."""
_KEYFRAME_INTERVAL = 4


def pack_checkpoint(
    path: Path, output: Path, frames: Iterable[SourceFrame], source: str, device: str = 'auto'
) -> dict[str, Any]:
    """Write a checkpoint as float16, once old and new have segmented the same frames.

    Args:
        path: Checkpoint, usually float32.
        output: File to write; its folder is created if absent.
        frames: A stream of images to compare on.
        source: Where they come from, for the record.
        device: As in `EngineOptions`.

    Returns:
        The entry `packed` of the training record: {'dtype', 'agreement' (share of equal pixels),
        'frames' (number), 'source', 'float32': {tensor that stays so: why}}.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be used, or fewer than `LEAST_AGREEMENT` of the pixels agree.
        ValueError: If there is no frame.
    """
    metadata, net = read_metadata(path), load_checkpoint(path)
    with TemporaryDirectory() as folder:
        half = Path(folder) / output.name
        save_checkpoint(half, net, dtype=torch.float16)
        packed = load_checkpoint(half)
    agreement, count = compare_masks(net, packed, frames, metadata.image_height, device)
    if agreement < LEAST_AGREEMENT:
        msg = f'float16 masks of {path} equal the old ones in {agreement:.3%} of the pixels'
        raise CheckpointError(f'{msg}, at least {LEAST_AGREEMENT:.1%} are needed; nothing written')
    reasons = {
        key: reason
        for key, value in net.state_dict().items()
        if value.is_floating_point() and (reason := storage_problem(value, torch.float16))
    }
    record: dict[str, Any] = {
        'dtype': 'float16',
        'agreement': agreement,
        'frames': count,
        'source': source,
        'float32': reasons,
    }
    save_checkpoint(output, net, {**metadata.training, 'packed': record}, torch.float16)
    return record


def compare_masks(
    net: DCFM, other: DCFM, frames: Iterable[SourceFrame], height: int, device: str = 'auto'
) -> tuple[float, int]:
    """Segment a stream with two networks, both in float32 in PyTorch: keyframes and others.

    Args:
        net: One network.
        other: The other, of the same classes.
        frames: The stream.
        height: Rows that both work at; 0: that of the images.
        device: As in `EngineOptions`.

    Returns:
        Share of the pixels to which both give the same class, and the number of frames.

    Raises:
        ValueError: If there is no frame.
    """
    options = EngineOptions(
        device=device,
        backend='torch',
        precision='fp32',
        inference_height=height,
        mask_blending=0.0,  # which would hide differences
    )
    schedule = ScheduleOptions(keyframe_interval=_KEYFRAME_INTERVAL)
    engines = [SegmentationEngine(each, options, schedule) for each in (net, other)]
    num_equal, num_pixels, num_frames = 0, 0, 0
    for frame in frames:
        mask, other_mask = (engine.step(frame.image, frame.stamp_ns).mask for engine in engines)
        num_equal += int(np.count_nonzero(mask == other_mask))
        num_pixels += mask.size
        num_frames += 1
    if not num_frames:
        raise ValueError('the input has no frame')
    return num_equal / num_pixels, num_frames
