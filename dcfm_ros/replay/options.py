"""`RecordingOptions`: how a recording is read; quick to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcfm_ros.option_spec import check_options, option


@dataclass(frozen=True, kw_only=True)
class RecordingOptions:
    """How a recording is read.

    Raises:
        ValueError: If a value is not allowed.
    """

    topic: str = option('', 'Image topic of a bag; needed if it has more than one.')
    label_topic: str = option('', 'Mask topic of a bag with the true classes, for the mIoU.')
    labels: str = option('', 'Folder of PNG masks for an image folder, for the mIoU.')
    rate_hz: float = option(
        15.0, 'Frame rate of an image folder or a demo.', minimum=0.1, maximum=1000.0, unit='Hz'
    )

    def __post_init__(self) -> None:
        check_options(self)

    def arguments(self) -> dict[str, Any]:
        """Arguments of `open_source`."""
        return {
            'topic': self.topic or None,
            'label_topic': self.label_topic or None,
            'labels': Path(self.labels) if self.labels else None,
            'rate_hz': self.rate_hz,
        }
