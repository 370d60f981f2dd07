"""`dcfm pack`: a checkpoint in half precision, written only if it gives the same masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dcfm_ros.deploy.agreement import compare_masks
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint import load_checkpoint, save_checkpoint, storage_problem
from dcfm_ros.models.checkpoint_header import CheckpointError, read_metadata
from dcfm_ros.recordings.sources import SourceFrame

LEAST_AGREEMENT = 0.999
"""Share of equal pixels under which nothing is written."""


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
    options = EngineOptions(
        device=device,
        backend='torch',
        precision='fp32',
        inference_height=metadata.image_height,
        mask_blending=0.0,  # which would hide differences
    )
    schedule = ScheduleOptions(keyframe_interval=4)
    one, other = (SegmentationEngine(each, options, schedule) for each in (net, packed))
    agreement, count = compare_masks(one, other, frames)
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
