"""Clips of a dataset: which files they consist of. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dcfm_ros.training.footage.label_sets import LabelSet

NUM_LISTED = 20
"""Problems that an error message spells out; the rest is counted."""


@dataclass(frozen=True)
class Frame:
    """Where an image lies, and its label if it has one."""

    image: Path
    label: Path | None = None


@dataclass(frozen=True, eq=False)
class Clip:
    """Consecutive frames of one recording, in time order."""

    name: str
    frames: tuple[Frame, ...]
    rate_hz: float
    labels: LabelSet
    drive: str = ''
    """Recording that it was cut from; '': it is one."""

    @property
    def labelled(self) -> list[int]:
        """Indices of the frames with a label."""
        return [index for index, frame in enumerate(self.frames) if frame.label is not None]


def hold_out(clips: Iterable[Clip], share: float) -> tuple[list[Clip], list[Clip]]:
    """Split clips into training and validation; the same split on every call.

    The last `share` of the labelled frames of each recording is held out as one block: neighbours
    in time look alike, so picking frames at random would test on what was trained on. A clip in
    which the block begins is cut there.

    Args:
        clips: In time order within each recording.
        share: Of every recording, in [0, 1); rounded to whole labelled frames.

    Returns:
        (training clips, validation clips).
    """
    if not 0 <= share < 1:
        raise ValueError(f'`share` must be in [0, 1), got {share}')
    drives: dict[str, list[Clip]] = {}
    for clip in clips:
        drives.setdefault(clip.drive or clip.name, []).append(clip)
    training: list[Clip] = []
    validation: list[Clip] = []
    for drive in drives.values():
        num_labelled = sum(len(clip.labelled) for clip in drive)
        left = num_labelled - round(share * num_labelled)
        for clip in drive:
            first, second = _cut(clip, left)
            left -= len(first.labelled)
            training += [first] if first.frames else []
            validation += [second] if second.frames else []
    return training, validation


def _cut(clip: Clip, num_labelled: int) -> tuple[Clip, Clip]:
    """Cut a clip behind its `num_labelled`-th labelled frame, or its end if it has no more."""
    labelled = clip.labelled
    end = len(clip.frames)
    if num_labelled < len(labelled):
        end = labelled[num_labelled - 1] + 1 if num_labelled else 0
    return replace(clip, frames=clip.frames[:end]), replace(clip, frames=clip.frames[end:])


def near_labels(clip: Clip, reach: int) -> Clip:
    """Keep the frames that are at most `reach` frames away from a labelled one."""
    near = {index + step for index in clip.labelled for step in range(-reach, reach + 1)}
    return replace(clip, frames=tuple(f for i, f in enumerate(clip.frames) if i in near))


def raise_problems(problems: Sequence[str]) -> None:
    """Raise a ValueError that lists them, if there are any."""
    if problems:
        listed = '\n  '.join(problems[:NUM_LISTED])
        more = len(problems) - NUM_LISTED
        rest = f'\n  and {more} more' if more > 0 else ''
        raise ValueError(f'{len(problems)} problem(s) with the data:\n  {listed}{rest}')
