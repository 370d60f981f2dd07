"""Which clips an evaluation runs over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dcfm_ros.training.footage.clips import Clip, hold_out
from dcfm_ros.training.footage.datasets import find_clips


@dataclass(frozen=True, kw_only=True)
class ClipChoice:
    """The clips of a dataset, or those of them that a training keeps for validation.

    Raises:
        ValueError: If `hold_out_share` is not allowed.
    """

    dataset: str
    """As in `find_clips`, like the next three."""
    root: Path
    split: str = 'val'
    classes: str | None = None
    hold_out_share: float | None = None
    """Only what a training on this split with this `data.hold_out_share` validates on, in (0, 1);
    None: everything."""

    def __post_init__(self) -> None:
        share = self.hold_out_share
        if share is not None and not 0 < share < 1:
            raise ValueError(f'`hold_out_share` must be in (0, 1), got {share}')

    def find(self) -> list[Clip]:
        """Find them.

        Raises:
            FileNotFoundError: If a folder is absent.
            ValueError: If the data is incomplete, or the share leaves no label.
        """
        clips = find_clips(self.dataset, self.root, self.split, classes=self.classes)
        if self.hold_out_share is None:
            return clips
        _, held = hold_out(clips, self.hold_out_share)
        if not any(clip.labelled for clip in held):
            msg = f'large enough for a labelled frame of a recording in {self.root}'
            raise ValueError(f'`hold_out_share` must be {msg}, got {self.hold_out_share}')
        return held
