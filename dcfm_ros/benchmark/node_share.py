"""What the node adds to the engine: from the callback to the published mask, minus the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import tempfile
from typing import Any

from dcfm_ros.benchmark.frames import read_frames
from dcfm_ros.benchmark.ratios import Bar

BAR = Bar('share_ms p95', 3.0, is_most=True)
_WARM_UP = 6


def measure_node_share(
    model: str,
    frames: int,
    size: tuple[int, int] = (480, 640),
    *,
    device: str = 'auto',
    backend: str = 'auto',
    interval: int = 6,
    on_frame: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Play frames to a node of its own, over DDS, and read what it tells of each.

    Args:
        model: Checkpoint, as in the node's parameter.
        frames: How many, each sent when the last is answered.
        size: (H, W) of the frames.
        device: Parameter of the node.
        backend: Parameter of the node.
        interval: Parameter of the node, frames.
        on_frame: Called for every frame.

    Returns:
        'share_ms' (p50, p95, p99, max), of it 'wait_ms' (for the worker) and 'convert_ms'; then
        'latency_ms' (callback to publish), how many frames, and whether the share holds its bar.

    Raises:
        TimeoutError: If the node does not become ready; the message says what it reported.
    """
    from dcfm_ros.models.checkpoint import find_checkpoint
    from dcfm_ros.play.node_process import node_process
    from dcfm_ros.play.player import PlayedFrame, play
    from dcfm_ros.play.report import summarise

    parameters = {
        'checkpoint': str(find_checkpoint(model).resolve()),
        'keyframe_interval': interval,
        'device': device,
        'backend': backend,
    }
    played = [
        PlayedFrame(image=frame.image, stamp_ns=frame.stamp_ns)
        for frame in read_frames(None, size, frames + _WARM_UP)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        node_process(parameters, Path(folder) / 'node.log'),
    ):
        report = play(played, rate_hz=None, on_mask=lambda index, mask: on_frame(), wait_s=120.0)
    timings = [record.timing for record in report.records if record.timing]
    figures = summarise(timings[_WARM_UP:])
    return {
        'model': model,
        'size': f'{size[0]}x{size[1]}',
        'backend': report.health.model.get('backend'),
        'device': report.health.model.get('device'),
        **figures,
        **BAR.judge(figures['share_ms']['p95']),
    }
