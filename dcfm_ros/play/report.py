"""What became of the frames that were played to a node; no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.percentiles import percentiles
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.health.status import NodeHealth


@dataclass
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
    timing: FrameTiming | None = None
    """What ~/timing says of it; None if nothing came."""

    @property
    def answered(self) -> bool:
        """Whether a mask came back."""
        return self.received_s is not None

    @property
    def latency_ms(self) -> float | None:
        """From sending the frame to receiving the mask; None if there is none."""
        return None if self.received_s is None else (self.received_s - self.sent_s) * 1e3


@dataclass(frozen=True, kw_only=True)
class PlayReport:
    """What became of all frames: sent == answered + dropped + unaccounted."""

    records: list[FrameRecord]
    dropped_by_cause: dict[str, int]
    """What the node counted as dropped during the play."""
    unexpected_masks: int
    """Masks that fit no frame, or that came twice. Should be 0."""
    health: NodeHealth = field(default_factory=NodeHealth)
    """The node's last diagnostics."""
    never_arrived: int = 0
    """Frames that the middleware lost on the way to the node, also those that the node cannot
    count: losses after the last frame that arrives leave no gap."""

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

        Should be 0, except with best effort: the last frames, and masks, may be lost unseen.
        """
        return self.sent - self.answered - self.dropped


def summarise(timings: Sequence[FrameTiming]) -> dict[str, Any]:
    """Percentiles of the latency and of the node's share in it, ms.

    Returns:
        'frames', 'share_ms' (all but the engine), 'latency_ms' (from the arrival of an image to
        its published mask), 'wait_ms' (for the worker), and 'convert_ms' (image to RGB).
    """
    return {
        'frames': len(timings),
        'share_ms': percentiles([timing.share_ms for timing in timings]),
        'latency_ms': percentiles([timing.latency_ms for timing in timings]),
        'wait_ms': percentiles([timing.wait_ms for timing in timings]),
        'convert_ms': percentiles([timing.input_ms for timing in timings]),
    }
