"""What a node must answer: masks of an engine in this process, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
import zlib

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata


def checksums_of_masks(
    images: Sequence[NDArray[np.uint8]],
    count: int,
    keyframe_interval: int,
    checkpoint: str | None = None,
) -> list[int]:
    """CRC-32 of the masks of images that come round and round, on the CPU, from a reset on.

    Args:
        images: RGB, (H, W, 3).
        count: Of masks.
        keyframe_interval: In frames.
        checkpoint: As in `load_network`; None: the packaged default.
    """
    height = read_metadata(find_checkpoint(checkpoint)).image_height
    options = EngineOptions(device='cpu', inference_height=height)
    schedule = ScheduleOptions(keyframe_interval=keyframe_interval)
    engine = SegmentationEngine(load_network(checkpoint, options), options, schedule)
    played = enumerate(islice(cycle(images), count), 1)
    masks = (engine.step(image, number * 33_000_000).mask for number, image in played)
    return [zlib.crc32(mask.data) for mask in masks]
