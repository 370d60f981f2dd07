"""The masks of a play, matched with the frames and labels of the recording."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.png import mask_to_png, png_to_mask
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.replay.online.statistics import replayed_frame
from dcfm_ros.replay.recorder import ReplayRecorder
from dcfm_ros.replay.recording import Recording
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]


class MaskStore:
    """Keeps the masks of one play as PNG: those of a long one would not fit into memory."""

    def __init__(self) -> None:
        """Start empty."""
        self.is_closed = False
        """Whether further masks are ignored."""
        self._masks: dict[int, bytes] = {}

    def take(self, index: int, mask: Mask) -> None:
        """Keep the mask of a frame, (H, W)."""
        if not self.is_closed:
            self._masks[index] = mask_to_png(mask).tobytes()

    def get(self, index: int) -> Mask | None:
        """The mask of a frame, (H, W), or None."""
        data = self._masks.get(index)
        return None if data is None else png_to_mask(data)


def record_play(
    recording: Recording, report: PlayReport, masks: MaskStore, recorder: ReplayRecorder
) -> None:
    """Read a recording once more, and give every frame what the node made of it.

    Args:
        recording: What was played.
        report: What became of its frames.
        masks: Of the same play.
        recorder: Gets every frame; its video appears.
    """
    records = {(r.stamp_ns, r.frame_id): r for r in report.records}
    shown = _Shown(report.records, masks, recorder.quality.num_classes)
    with recorder:
        for frame in recording.frames():
            record = records[frame.stamp_ns, frame.frame_id]
            shown.add(frame, record)
            recorder.add(frame, replayed_frame(record, report), masks.get(record.index))
    if recorder.quality.num_labelled:
        recorder.quality.streaming = shown.confusion


class _Shown:
    """Labels against the newest mask at the time their frame was sent."""

    def __init__(self, records: list[FrameRecord], masks: MaskStore, num_classes: int) -> None:
        came = sorted((r.received_s, r.index) for r in records if r.received_s is not None)
        self._times_s = [time_s for time_s, _ in came]
        self._indices = [index for _, index in came]
        self._masks = masks
        self.confusion = ConfusionMatrix(num_classes)

    def add(self, frame: SourceFrame, record: FrameRecord) -> None:
        if frame.label is None:
            return
        place = bisect_right(self._times_s, record.sent_s)
        mask = self._masks.get(self._indices[place - 1]) if place else None
        if mask is None or mask.shape != frame.label.shape:  # every labelled pixel is missed
            mask = np.full(frame.label.shape, UNLABELLED, np.uint8)
        self.confusion.update(mask, frame.label)
