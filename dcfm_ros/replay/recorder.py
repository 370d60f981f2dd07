"""Collects a run frame by frame: overlay video, accuracy, times, class shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
import math
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.overlay import blend, draw_caption
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.recordings.video import VideoWriter
from dcfm_ros.training.metrics import ConfusionMatrix

NUM_SNAPSHOTS = 6


@dataclass(frozen=True, kw_only=True)
class FrameEntry:
    """What is kept of one frame for the report."""

    time_s: float
    """Acquisition time since the first frame."""
    is_answered: bool
    """False if the frame was dropped."""
    is_keyframe: bool
    keyframe_age: int | None
    """Frames since the keyframe whose feature the mask was made with; None where not known."""
    latency_ms: float
    """From sending (or reading) the frame to having its mask; nan if dropped."""
    stage_ms: Mapping[str, float]
    class_shares: NDArray[np.float64] | None
    """Share of the mask's pixels per class, (K,)."""
    stamp_ns: int = 0
    """Header stamp."""
    reason: str = ''
    """Why it is a keyframe, '' if it is none."""
    feature_age_ms: float = math.nan
    """Age of the feature in use, between header stamps."""
    change_score: float = math.nan
    """What an adaptive schedule made of it."""
    sent_s: float = math.nan
    """When it was sent, s of a steady clock; nan where nothing was sent."""
    received_s: float = math.nan
    """When its mask was there, s of the same clock."""
    drop_cause: str = ''
    """Why it was dropped, where that is known."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """What `replay.quality` found in it."""

    @property
    def is_deep(self) -> bool:
        """Whether the deep encoder was at work: on keyframes, unless its work is spread."""
        return 'common' in self.stage_ms


class RunRecorder:
    """Takes every frame of a run with its mask and gives the figures of the run at the end.

    Use as a context manager: the video appears when the body ends without an error.
    """

    def __init__(
        self,
        video: Path,
        class_names: tuple[str, ...],
        palette: tuple[tuple[int, int, int], ...],
        rate_hz: float,
        expected_frames: int | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            video: Overlay video to write (.mp4).
            class_names: One name per class.
            palette: One RGB colour per class.
            rate_hz: Frame rate of the video.
            expected_frames: Length of the run where it is known; spreads the snapshots.
        """
        self.class_names = class_names
        self.palette = palette
        self.entries: list[FrameEntry] = []
        self.snapshots: list[NDArray[np.uint8]] = []
        """Up to `NUM_SNAPSHOTS` overlay frames, RGB, spread over the run."""
        self._video = VideoWriter(video, rate_hz)
        self._every = max(1, (expected_frames or 150) // NUM_SNAPSHOTS)
        self._confusion = ConfusionMatrix(len(class_names))
        self._hold_confusion = ConfusionMatrix(len(class_names))
        self._held: NDArray[np.uint8] | None = None
        self._num_labelled = 0
        self._first_stamp_ns: int | None = None
        self._size: tuple[int, int] | None = None  # width and height of the video

    def add(
        self,
        frame: SourceFrame,
        mask: NDArray[np.uint8] | None,
        *,
        is_keyframe: bool = False,
        keyframe_age: int | None = None,
        latency_ms: float = math.nan,
        stage_ms: Mapping[str, float] | None = None,
        **facts: Any,
    ) -> None:
        """Take the next frame; `mask` is None if it was dropped, `facts` are of its entry."""
        if self._first_stamp_ns is None:
            self._first_stamp_ns = frame.stamp_ns
        shares = None
        if mask is not None:
            num_classes = len(self.class_names)
            shares = np.bincount(mask.ravel(), minlength=256)[:num_classes] / mask.size
            self._score(mask, frame.label, is_keyframe)
        entry = FrameEntry(
            time_s=(frame.stamp_ns - self._first_stamp_ns) * 1e-9,
            is_answered=mask is not None,
            is_keyframe=is_keyframe,
            keyframe_age=keyframe_age,
            latency_ms=latency_ms,
            stage_ms=dict(stage_ms or {}),
            class_shares=shares,
            stamp_ns=frame.stamp_ns,
            **facts,
        )
        self._draw(frame, mask, entry)
        self.entries.append(entry)

    def miou(self) -> float | None:
        """The mIoU of the answered frames that have labels, in [0, 1]; None without labels."""
        return self._confusion.miou('ignore') if self._num_labelled else None

    def mask_hold_miou(self) -> float | None:
        """The same if every keyframe's mask had just been repeated until the next keyframe."""
        return self._hold_confusion.miou('ignore') if self._num_labelled else None

    def figures(self) -> dict[str, object]:
        """Summary of the run: fractions in [0, 1], times in ms, None where undefined.

        'latency_ms_key' is of frames on which the deep encoder was at work, 'latency_ms_nonkey' of
        the others; 'keyframe_age' is that of the features in use, in frames.
        """
        answered = [entry for entry in self.entries if entry.is_answered]
        keyframes = sum(entry.is_keyframe for entry in answered)
        ages = [entry.keyframe_age for entry in answered if entry.keyframe_age is not None]
        return {
            'keyframe_share': keyframes / len(answered) if answered else None,
            'latency_ms': percentiles([entry.latency_ms for entry in answered]),
            'latency_ms_key': percentiles([e.latency_ms for e in answered if e.is_deep]),
            'latency_ms_nonkey': percentiles([e.latency_ms for e in answered if not e.is_deep]),
            'keyframe_age': {'mean': float(np.mean(ages)), 'max': max(ages)} if ages else None,
            'stage_ms': self._stage_means(answered),
            'miou': self.miou(),
            'mask_hold_miou': self.mask_hold_miou(),
            'labelled_frames': self._num_labelled,
        }

    def _score(
        self, mask: NDArray[np.uint8], label: NDArray[np.uint8] | None, is_keyframe: bool
    ) -> None:
        if is_keyframe or self._held is None or self._held.shape != mask.shape:
            self._held = mask.copy()
        if label is not None and label.shape == mask.shape:
            self._confusion.update(mask, label)
            self._hold_confusion.update(self._held, label)
            self._num_labelled += 1

    def _draw(self, frame: SourceFrame, mask: NDArray[np.uint8] | None, entry: FrameEntry) -> None:
        picture = frame.image
        if mask is None:
            text = f'{entry.time_s:6.2f} s   dropped'
        else:
            picture = blend(frame.image, mask, self.palette, 0.55)
            role = 'KEYFRAME' if entry.is_keyframe else 'non-key '
            age = '' if entry.keyframe_age is None else f'age {entry.keyframe_age:2d}   '
            text = f'{entry.time_s:6.2f} s   {role}   {age}{entry.latency_ms:5.1f} ms'
        picture = np.hstack([frame.image, picture])
        self._size = self._size or (picture.shape[1], picture.shape[0])
        if picture.shape[1::-1] != self._size:  # a video has one size, whatever the camera does
            picture = np.asarray(cv2.resize(picture, self._size), np.uint8)
        picture = draw_caption(picture, text)
        self._video.write(picture)
        if mask is not None and len(self.entries) % self._every == self._every // 2:
            self.snapshots = [*self.snapshots, picture][:NUM_SNAPSHOTS]

    @staticmethod
    def _stage_means(answered: list[FrameEntry]) -> dict[str, float]:
        return {
            name: float(np.mean([e.stage_ms[name] for e in answered if name in e.stage_ms]))
            for name in stages_of(answered)
        }

    def __enter__(self) -> RunRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._video.__exit__(kind, error, traceback)


def percentiles(values: Iterable[float]) -> dict[str, float | None]:
    """Percentiles p50, p95, p99 and the maximum of what is not nan; None where nothing is."""
    names = {'p50': 50, 'p95': 95, 'p99': 99, 'max': 100}
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return dict.fromkeys(names)
    return {name: float(np.percentile(known, q)) for name, q in names.items()}


def stages_of(entries: Iterable[FrameEntry]) -> list[str]:
    """Stages of all frames in the order in which a frame goes through them, as far as it has them.

    A stage that only some frames have comes after the one that it follows in them.
    """
    names: list[str] = []
    for order in dict.fromkeys(tuple(entry.stage_ms) for entry in entries):
        place = 0
        for name in order:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    return names
