"""Which clips an evaluation runs over."""

from __future__ import annotations

from pathlib import Path

from dcfm_ros.training.footage.clips import Clip, hold_out
from dcfm_ros.training.footage.datasets import find_clips


def find_evaluation_clips(
    dataset: str,
    root: Path,
    split: str,
    *,
    classes: str | None = None,
    hold_out_share: float | None = None,
) -> list[Clip]:
    """Find the clips of a dataset, or those of them that a training keeps for validation.

    Args:
        dataset: As in `find_clips`, like the others.
        root: Folder of the dataset.
        split: Part of it.
        classes: Label set in whose classes labels are read.
        hold_out_share: Only what a training on this split with this `data.hold_out_share`
            validates on (see `hold_out`), in (0, 1); None: everything.

    Raises:
        FileNotFoundError: If a folder is absent.
        ValueError: If the data is incomplete, or the share is not allowed or leaves no label.
    """
    if hold_out_share is not None and not 0 < hold_out_share < 1:
        raise ValueError(f'`hold_out_share` must be in (0, 1), got {hold_out_share}')
    clips = find_clips(dataset, root, split, classes=classes)
    if hold_out_share is None:
        return clips
    _, held = hold_out(clips, hold_out_share)
    if not any(clip.labelled for clip in held):
        msg = f'large enough for a labelled frame of a recording in {root}'
        raise ValueError(f'`hold_out_share` must be {msg}, got {hold_out_share}')
    return held
