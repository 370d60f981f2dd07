"""`ReplayRecorder`: takes the frames of a run and their masks one by one, and draws the video."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.masks.overlay import RGB, blend, draw_caption
from dcfm_ros.masks.resize import resize_nearest
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.recordings.video import VideoWriter
from dcfm_ros.replay.frames import ReplayedFrame
from dcfm_ros.replay.quality import RunQuality, label_notes
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.run import ReplayRun

NUM_SNAPSHOTS = 6
Mask = NDArray[np.uint8]


class ReplayRecorder:
    """Collects what a report needs of a run.

    Use as a context manager: the video appears when the body ends without an error.
    """

    def __init__(
        self,
        video: Path,
        class_names: tuple[str, ...],
        palette: tuple[RGB, ...],
        rate_hz: float,
        expected_frames: int | None = None,
        groups: ClassGroups | None = None,
    ) -> None:
        """Start a run.

        Args:
            video: Overlay video to write (.mp4).
            class_names: One name per class.
            palette: One RGB colour per class.
            rate_hz: Frame rate of the video.
            expected_frames: Length of the run, if known; it spreads the snapshots.
            groups: Of the classes, in which figures are given as well.
        """
        self.frames: list[ReplayedFrame] = []
        self.quality = RunQuality(len(class_names), groups)
        self._snapshots: list[NDArray[np.uint8]] = []
        self._class_names, self._palette = class_names, palette
        self._path = video
        self._video = VideoWriter(video, rate_hz)
        self._every = max(1, (expected_frames or 150) // NUM_SNAPSHOTS)
        self._masks = hashlib.sha256()
        self._resized = 0

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
            mask: Class of every pixel, (H, W); None if it was dropped. One of another size than
                the image is compared and drawn at that of the image, which `run` tells.
            reference: Mask of the per-frame network, (H, W), or None.
        """
        first_ns = self.frames[0].stamp_ns if self.frames else source.stamp_ns
        frame.time_s = (source.stamp_ns - first_ns) * 1e-9
        frame.is_answered = mask is not None
        if mask is not None:
            self._masks.update(f'{mask.shape}'.encode() + mask.tobytes())
            counts = np.bincount(mask.ravel(), minlength=256)
            frame.class_shares = counts[: self.quality.num_classes] / mask.size
            size = source.image.shape[:2]
            self._resized += mask.shape != size
            mask = resize_nearest(mask, size)
        frame.quality = self.quality.add(
            mask,
            label=source.label,
            reference=reference,
            age=frame.keyframe_age,
            is_keyframe=frame.is_keyframe,
        )
        self._draw(source, frame, mask)
        self.frames.append(frame)

    def run(self, recording: Recording, **more: Any) -> ReplayRun:
        """What was taken, as a run of a recording; `more` are the fields only the caller knows."""
        is_complete = all(frame.is_answered for frame in self.frames)
        return ReplayRun(
            name=recording.name,
            video=self._path.name,
            class_names=self._class_names,
            palette=self._palette,
            frames=self.frames,
            quality=self.quality,
            losses=[
                *recording.losses,
                *label_notes(self.quality, self._class_names),
                *self._mask_notes(),
            ],
            masks_sha256=self._masks.hexdigest() if is_complete else None,
            snapshots=self._snapshots,
            **more,
        )

    def _mask_notes(self) -> list[str]:
        """What is odd about the masks, in words."""
        notes = []
        if self._resized:
            what = 'of another size than their image, compared and drawn at that of the image'
            notes.append(f'{self._resized} masks {what}')
        if unknown := sum(f.is_answered and f.keyframe_age is None for f in self.frames):
            what = 'came without their timing (`publish_timing` of the node is false, or it was'
            left_out = 'lost): not in the figures of keyframes, ages and stages'
            notes.append(f'{unknown} masks {what} {left_out}')
        return notes

    def _draw(self, source: SourceFrame, frame: ReplayedFrame, mask: Mask | None) -> None:
        picture = source.image
        if mask is None:
            text = f'{frame.time_s:6.2f} s   dropped'
        else:
            picture = blend(source.image, mask, self._palette, 0.55)
            role = 'KEYFRAME' if frame.is_keyframe else 'non-key '
            known = frame.keyframe_age is not None
            age = f'{role}   age {frame.keyframe_age:2d}   ' if known else ''
            text = f'{frame.time_s:6.2f} s   {age}{frame.latency_ms:5.1f} ms'
        picture = draw_caption(np.hstack([source.image, picture]), text)
        self._video.write(picture)
        is_due = len(self.frames) % self._every == self._every // 2
        if mask is not None and is_due and len(self._snapshots) < NUM_SNAPSHOTS:
            self._snapshots.append(picture)

    def __enter__(self) -> ReplayRecorder:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.quality.end()
        self._video.__exit__(*raised)
