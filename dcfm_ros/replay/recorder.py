"""`ReplayRecorder`: takes the frames of a run and their masks one by one, and draws the video."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.overlay import blend, draw_caption
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.recordings.video import VideoWriter
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.quality import RunQuality

NUM_SNAPSHOTS = 6
Mask = NDArray[np.uint8]


class ReplayRecorder:
    """Collects what a report needs of a run.

    Use as a context manager: the video appears when the body ends without an error.
    """

    def __init__(
        self,
        video: Path,
        class_names: Sequence[str],
        palette: Sequence[tuple[int, int, int]],
        rate_hz: float,
        expected_frames: int | None = None,
    ) -> None:
        """Start a run.

        Args:
            video: Overlay video to write (.mp4).
            class_names: One name per class.
            palette: One RGB colour per class.
            rate_hz: Frame rate of the video.
            expected_frames: Length of the run, if known; it spreads the snapshots.
        """
        self.frames: list[ReplayedFrame] = []
        self.quality = RunQuality(len(class_names))
        self.snapshots: list[NDArray[np.uint8]] = []
        """Up to `NUM_SNAPSHOTS` frames of the video, RGB, spread over the run."""
        self._palette = palette
        self._video = VideoWriter(video, rate_hz)
        self._video_size: tuple[int, int] | None = None  # width, height
        self._every = max(1, (expected_frames or 150) // NUM_SNAPSHOTS)
        self._masks = hashlib.sha256()

    @property
    def masks_sha256(self) -> str | None:
        """Hash of all masks in order; None if a frame has none."""
        is_complete = all(frame.is_answered for frame in self.frames)
        return self._masks.hexdigest() if is_complete else None

    def add(
        self,
        source: SourceFrame,
        frame: ReplayedFrame,
        mask: Mask | None,
        reference: Mask | None = None,
    ) -> None:
        """Take the next frame.

        Args:
            source: The frame as it was recorded.
            frame: What became of it; its time, class shares and quality are filled in here.
            mask: Class of every pixel, (H, W); None if it was dropped.
            reference: Mask of the per-frame network, (H, W), or None.
        """
        first_ns = self.frames[0].stamp_ns if self.frames else source.stamp_ns
        frame.time_s = (source.stamp_ns - first_ns) * 1e-9
        frame.is_answered = mask is not None
        frame.quality = self.quality.add(
            mask,
            label=source.label,
            reference=reference,
            age=frame.keyframe_age or 0,
            is_keyframe=frame.is_keyframe,
        )
        if mask is not None:
            self._masks.update(f'{mask.shape}'.encode() + mask.tobytes())
            counts = np.bincount(mask.ravel(), minlength=256)
            frame.class_shares = counts[: self.quality.num_classes] / mask.size
        self._draw(source, frame, mask)
        self.frames.append(frame)

    def _draw(self, source: SourceFrame, frame: ReplayedFrame, mask: Mask | None) -> None:
        picture = source.image
        if mask is None:
            text = f'{frame.time_s:6.2f} s   dropped'
        else:
            picture = blend(source.image, mask, self._palette, 0.55)
            role = 'KEYFRAME' if frame.is_keyframe else 'non-key '
            age = '' if frame.keyframe_age is None else f'age {frame.keyframe_age:2d}   '
            text = f'{frame.time_s:6.2f} s   {role}   {age}{frame.latency_ms:5.1f} ms'
        picture = np.hstack([source.image, picture])
        self._video_size = self._video_size or (picture.shape[1], picture.shape[0])
        if picture.shape[1::-1] != self._video_size:  # the size of a video is fixed
            picture = np.asarray(cv2.resize(picture, self._video_size), np.uint8)
        picture = draw_caption(picture, text)
        self._video.write(picture)
        is_due = len(self.frames) % self._every == self._every // 2
        if mask is not None and is_due and len(self.snapshots) < NUM_SNAPSHOTS:
            self.snapshots.append(picture)

    def __enter__(self) -> ReplayRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.quality.end()
        self._video.__exit__(kind, error, traceback)
