"""`dcfm segment`: the engine over a video, folder, bag or camera, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
import time
from typing import Any

import cv2

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.replay.recorder import RunRecorder


def segment_frames(
    frames: Iterable[SourceFrame],
    engine: SegmentationEngine,
    *,
    video: Path,
    rate_hz: float,
    masks: Path | None = None,
    expected_frames: int | None = None,
) -> tuple[dict[str, Any], RunRecorder]:
    """Segment every frame in order and draw the overlay video.

    Args:
        frames: What to segment.
        engine: A fresh engine.
        video: Overlay video to write (.mp4).
        rate_hz: Frame rate of the video.
        masks: Folder for one PNG mask per frame, or None.
        expected_frames: Length of the run where it is known.

    Returns:
        Summary of the run, and the run itself for the report.

    Raises:
        ValueError: If there is no frame.
    """
    if masks is not None:
        masks.mkdir(parents=True, exist_ok=True)
    reasons: Counter[str] = Counter()
    names, palette = engine.net.class_names, engine.net.palette
    with RunRecorder(video, names, palette, rate_hz, expected_frames) as recorder:
        try:
            for index, frame in enumerate(frames):
                start = time.perf_counter()
                result = engine.step(frame.image, frame.stamp_ns)
                latency_ms = (time.perf_counter() - start) * 1e3
                if result.is_keyframe:
                    reasons[result.reason] += 1
                recorder.add(
                    frame,
                    result.mask,
                    is_keyframe=result.is_keyframe,
                    keyframe_age=result.keyframe_age,
                    latency_ms=latency_ms,
                    stage_ms=result.stage_ms,
                )
                if masks is not None:
                    cv2.imwrite(str(masks / f'{index:06d}.png'), result.mask)
        except KeyboardInterrupt:
            pass  # the way to end a camera; what was seen so far is the result
        if not recorder.entries:
            raise ValueError('the input has no frame')
    count = len(recorder.entries)
    summary = {
        'frames_sent': count,
        'masks_received': count,
        'frames_dropped': 0,
        **recorder.figures(),
        'rate_hz': rate_hz,
        **asdict(engine.options),
        **asdict(engine.schedule),
        'device': str(engine.backend.device),
        'backend': engine.backend.name,
        'precision': engine.backend.precision,
        'keyframe_reasons': dict(reasons),
    }
    return summary, recorder
