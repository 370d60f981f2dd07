"""The masks of a play, set beside the frames and labels of the recording."""

from __future__ import annotations

from bisect import bisect_right
import hashlib

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.compressed import mask_to_png, png_to_mask
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.frame import SourceFrame
from dcfm_ros.replay.online.figures import entry_facts
from dcfm_ros.replay.quality import RunQuality
from dcfm_ros.replay.recorder import RunRecorder
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]


class MaskStore:
    """Keeps the masks of one play, as PNG: those of a long one would not fit into memory."""

    def __init__(self) -> None:
        """Keep none yet."""
        self.is_closed = False
        """Whether masks that come are thrown away."""
        self._masks: dict[int, bytes] = {}

    def take(self, index: int, mask: Mask) -> None:
        """Keep the mask of a frame, (H, W)."""
        if not self.is_closed:
            self._masks[index] = mask_to_png(mask).tobytes()

    def get(self, index: int) -> Mask | None:
        """The mask of a frame, (H, W), or None."""
        data = self._masks.get(index)
        return None if data is None else png_to_mask(data)


def recorded(
    reader: BagReader, report: PlayReport, masks: MaskStore, recorder: RunRecorder
) -> tuple[RunQuality, str | None]:
    """Read a bag once more, and give every frame what the node made of it.

    Args:
        reader: The bag.
        report: What became of its frames.
        masks: Of the same play.
        recorder: Gets every frame; its video appears.

    Returns:
        Masks against labels, and the hash of all masks if none is missing.
    """
    records = {(r.stamp_ns, r.frame_id): r for r in report.records}
    quality = RunQuality(len(recorder.class_names))
    shown = _Shown(report.records, masks, len(recorder.class_names))
    seen = hashlib.sha256()
    with recorder:
        for frame in reader.frames():
            record = records[frame.stamp_ns, frame.frame_id]
            mask = masks.get(record.index)
            if mask is not None:
                seen.update(f'{mask.shape}'.encode() + mask.tobytes())
            facts = entry_facts(record, report)
            age = facts['keyframe_age'] or 0
            found = quality.add(mask, label=frame.label, age=age)
            shown.add(frame, record)
            recorder.add(frame, mask, **facts, quality=found)
    quality.end()
    if quality.num_labelled:
        quality.streaming = shown.confusion
    return quality, seen.hexdigest() if report.answered == report.sent else None


class _Shown:
    """Labels against the newest mask that had come when the frame of the label was sent."""

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
