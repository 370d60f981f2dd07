"""The demo: a clip goes to the real node, in its own process, over DDS; masks come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.checkpoint import CheckpointMetadata
from dcfm_ros.play.node_process import node_process
from dcfm_ros.play.player import PlayedFrame, play
from dcfm_ros.play.report import PlayReport
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.replay.recorder import RunRecorder


def run_demo(
    frames: Callable[[], Iterable[SourceFrame]],
    *,
    source: str,
    checkpoint: Path,
    metadata: CheckpointMetadata,
    output: Path,
    rate_hz: float = 15.0,
    parameters: Mapping[str, Any],
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Any], RunRecorder]:
    """Send frames to a node of their own and record what it makes of them.

    Writes overlay.mp4 and node.log into `output`.

    Args:
        frames: Gives the frames from the start; called twice (to send, and to draw).
        source: What the frames are, for the summary.
        checkpoint: Weights for the node.
        metadata: What the checkpoint says of itself.
        output: Folder for the results; created if absent.
        rate_hz: Frames sent per second.
        parameters: Of the node, without its checkpoint.
        say: Told what happens.

    Returns:
        Summary of the run, and the run itself for the report.

    Raises:
        ValueError: If a parameter does not take its value.
        TimeoutError: If the node does not become ready; the message says what it reported.
    """
    output.mkdir(parents=True, exist_ok=True)
    masks: dict[int, bytes] = {}  # PNG: a long clip's masks would not fit into memory otherwise
    given = {**parameters, 'checkpoint': str(checkpoint.resolve())}
    with node_process(given, output / 'node.log'):
        say(f'node started, log in {output / "node.log"}')
        played = (
            PlayedFrame(image=f.image, stamp_ns=f.stamp_ns, frame_id=f.frame_id) for f in frames()
        )
        report = play(
            played,
            rate_hz=rate_hz,
            on_mask=lambda index, mask: masks.update({index: _encode(mask)}),
            wait_s=120.0,
        )
    say(f'{report.answered} of {report.sent} frames answered, drawing the overlay')
    with RunRecorder(
        output / 'overlay.mp4',
        metadata.config.class_names,
        metadata.config.palette,
        rate_hz,
        report.sent,
    ) as recorder:
        for record, frame in zip(report.records, frames(), strict=False):
            recorder.add(
                frame,
                _decode(masks.get(record.index)),
                is_keyframe=record.is_keyframe,
                latency_ms=float('nan') if record.latency_ms is None else record.latency_ms,
                keyframe_age=record.timing.keyframe_age if record.timing else None,
                stage_ms=record.stage_ms,
            )
    summary = _summary(report, recorder)
    summary.update(
        source=source,
        rate_hz=rate_hz,
        keyframe_interval=parameters.get('keyframe_interval'),
        checkpoint=str(checkpoint),
        backend=report.health.model.get('backend'),
        execution=report.health.model.get('execution'),
        device=report.health.model.get('device'),
    )
    return summary, recorder


def _summary(report: PlayReport, recorder: RunRecorder) -> dict[str, Any]:
    return {
        'frames_sent': report.sent,
        'masks_received': report.answered,
        'frames_dropped': report.dropped,
        'frames_unaccounted': report.unaccounted,
        'unexpected_masks': report.unexpected_masks,
        'dropped_by_cause': report.dropped_by_cause,
        **recorder.figures(),
    }


def _encode(mask: NDArray[np.uint8]) -> bytes:
    is_written, data = cv2.imencode('.png', mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert is_written
    return data.tobytes()


def _decode(data: bytes | None) -> NDArray[np.uint8] | None:
    if data is None:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(image, np.uint8)
