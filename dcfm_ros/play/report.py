"""What became of the frames that were played to a node; no ROS."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_NO_STAGES = ('feature_age_ms', 'wait_ms', 'latency_ms')
"""Times of ~/timing in which the node does nothing for the frame, or all that it does."""


@dataclass(kw_only=True)
class FrameRecord:
    """What became of a frame."""

    index: int
    stamp_ns: int
    frame_id: str
    sent_s: float
    """When it was sent, s of a steady clock."""
    received_s: float | None = None
    """When a mask with exactly this header came back; None: none did."""
    mask: NDArray[np.uint8] | None = None
    """The mask, (H, W); None if there is none or `on_mask` took it."""
    timing: dict[str, str] = field(default_factory=dict)
    """What ~/timing said: is_keyframe, reason, independent_ms, ...; empty if nothing came."""

    @property
    def answered(self) -> bool:
        """Whether a mask came back."""
        return self.received_s is not None

    @property
    def latency_ms(self) -> float | None:
        """From sending the frame to receiving the mask; None if there is none."""
        return None if self.received_s is None else (self.received_s - self.sent_s) * 1e3

    @property
    def is_keyframe(self) -> bool:
        """Whether ~/timing said so."""
        return self.timing.get('is_keyframe', '').lower() == 'true'

    @property
    def stage_ms(self) -> dict[str, float]:
        """Duration in ms of what the node did with the frame, by stage, as ~/timing said."""
        return {
            name.removesuffix('_ms'): float(value)
            for name, value in self.timing.items()
            if name.endswith('_ms') and name not in _NO_STAGES
        }


@dataclass(frozen=True, kw_only=True)
class PlayReport:
    """What became of all frames: sent == answered + dropped + unaccounted."""

    records: list[FrameRecord]
    dropped_by_cause: dict[str, int]
    """What the node counted as dropped during the play."""
    unexpected_masks: int
    """Masks whose header is that of no frame, or that came twice. Should be 0."""
    reported: dict[str, str]
    """Values of the node's last diagnostics: device, backend, checkpoint, ..."""
    never_arrived: int = 0
    """Frames that the middleware did not bring to the node, also those that nobody could count as
    dropped: after the last frame that arrives there is no gap to be seen."""

    @property
    def sent(self) -> int:
        """Frames sent."""
        return len(self.records)

    @property
    def answered(self) -> int:
        """Frames that came back as a mask."""
        return sum(record.answered for record in self.records)

    @property
    def dropped(self) -> int:
        """Frames that the node says it dropped."""
        return sum(self.dropped_by_cause.values())

    @property
    def unaccounted(self) -> int:
        """Frames that neither came back nor were counted as dropped.

        Should be 0, but for best effort: the last frames, and masks, may be lost unseen.
        """
        return self.sent - self.answered - self.dropped
