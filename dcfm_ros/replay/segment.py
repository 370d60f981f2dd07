"""`dcfm segment`: the engine over a video, folder, bag or camera, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
import time
from typing import Any

import cv2

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.keyframes.adaptive_schedule import AdaptiveScheduler
from dcfm_ros.keyframes.schedule import FixedScheduler, Schedule
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.replay.recorder import RunRecorder


def choose_schedule(
    interval: int | None,
    adaptive: float | None,
    max_interval: int | None,
    score: str | None = None,
    confidence_drop: float | None = None,
) -> Schedule:
    """The schedule that the options of the command line mean.

    Args:
        interval: Keyframe interval, frames; None: not given.
        adaptive: Threshold of an adaptive schedule; None: not given.
        max_interval: Longest interval of an adaptive schedule, frames; None: no limit.
        score: What an adaptive schedule compares; None: not given, the image.
        confidence_drop: Of an adaptive schedule; None: not given.

    Raises:
        ValueError: If the options exclude each other or a value is not allowed.
    """
    if adaptive is not None:
        if interval is not None:
            raise ValueError(f'name one of --interval ({interval}) and --adaptive ({adaptive})')
        return AdaptiveScheduler(
            adaptive,
            max_interval=max_interval,
            score=score or 'image',
            confidence_drop=confidence_drop,
        )
    options = {
        'max-interval': max_interval,
        'score': score,
        'confidence-drop': confidence_drop,
    }
    for name, value in options.items():
        if value is not None:
            raise ValueError(f'--{name} ({value}) needs --adaptive')
    return FixedScheduler(3 if interval is None else interval)


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
        'device': engine.device,
        'backend': engine.backend,
        **engine.schedule.settings(),
        'execution': engine.execution,
        'keyframe_reasons': dict(reasons),
    }
    return summary, recorder
