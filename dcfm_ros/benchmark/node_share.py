"""What the node adds to the engine, in time per frame and in memory over many frames."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.benchmark.inputs import read_frames
from dcfm_ros.benchmark.memory import growth
from dcfm_ros.benchmark.ratios import Bar

BAR = Bar('share_ms p95', 3.0, is_most=True)
_SIZE = 480, 640
_DRIVE_FRAMES = 60
"""Frames that are played again and again."""
_WARM_UP = 6


def measure_node_share(model: str, frames: int, device: str = 'auto') -> dict[str, Any]:
    """Play frames to a node of its own over DDS, each when the last one is answered.

    Args:
        model: Checkpoint, as in the node's parameter.
        frames: How many.
        device: Parameter of the node.

    Returns:
        `summarise`d times of the frames, whether the share meets its bar, and 'growth_mb' of the
        whole process as in `growth`.

    Raises:
        TimeoutError: If the node does not become ready; the message has what it reported.
    """
    from dcfm_ros.models.checkpoint_header import find_checkpoint
    from dcfm_ros.play.node_process import node_process
    from dcfm_ros.play.player import PlayedFrame, connect, play
    from dcfm_ros.play.process_meter import take_sample
    from dcfm_ros.play.report import summarise

    parameters = {
        'checkpoint': str(find_checkpoint(model).resolve()),
        'keyframe_interval': 6,
        'device': device,
    }
    images = [frame.image for frame in read_frames(None, _SIZE, _DRIVE_FRAMES)]
    memory_mb: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        node_process(parameters, Path(folder) / 'node.log') as process,
    ):

        def on_mask(index: int, mask: NDArray[np.uint8]) -> None:
            if sample := take_sample(process.pid):
                memory_mb.append(sample.memory_mb)

        played = (
            PlayedFrame(image=images[i % len(images)], stamp_ns=(i + 1) * 33_000_000)
            for i in range(frames + _WARM_UP)
        )
        with connect(on_mask=on_mask) as player:
            report = play(player, played, wait_s=120.0)
    figures = summarise([r.timing for r in report.records if r.timing][_WARM_UP:])
    return {
        'model': model,
        'size': f'{_SIZE[0]}x{_SIZE[1]}',
        'backend': report.health.model.get('backend'),
        'device': report.health.model.get('device'),
        **figures,
        **BAR.judge(figures['share_ms']['p95']),
        'growth_mb': growth(memory_mb),
    }
