"""The masks of a play, matched with the frames and labels of the recording."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.png import mask_to_png, png_to_mask
from dcfm_ros.masks.resize import resize_nearest
from dcfm_ros.play.report import PlayReport
from dcfm_ros.replay.online.statistics import replayed_frames
from dcfm_ros.replay.recorder import ReplayRecorder
from dcfm_ros.replay.recording import Recording

Mask = NDArray[np.uint8]


class MaskStore:
    """Keeps the masks of one play as PNG: those of a long one would not fit into memory."""

    def __init__(self) -> None:
        self.is_closed = False
        """Whether further masks are ignored."""
        self.places: list[int] = []
        """Of the frames that were played, see `Recording.numbered`."""
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
    """Read a recording once more, and give the recorder what the node made of every frame.

    Labels are also compared with the newest mask at the time their frame was sent.
    """
    records = dict(zip(masks.places, report.records, strict=True))
    replayed = replayed_frames(report)
    came = sorted((r.received_s, r.index) for r in report.records if r.received_s is not None)
    sizes: dict[int, tuple[int, ...]] = {}  # of the images so far
    with recorder:
        for place, frame in recording.numbered():
            record = records[place]
            sizes[record.index] = size = frame.image.shape[:2]
            made = replace(replayed[record.index], stamp_ns=frame.stamp_ns)
            recorder.add(frame, made, masks.get(record.index))
            if frame.label is not None:
                count = bisect_right(came, record.sent_s, key=itemgetter(0))
                newest = came[count - 1][1] if count else None
                shown = None if newest is None else masks.get(newest)
                if shown is not None and newest is not None:
                    shown = resize_nearest(shown, sizes[newest])
                recorder.quality.add_shown(shown, frame.label, size)
