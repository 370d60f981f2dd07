"""What the trained networks of a study are evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path

from dcfm_ros.training.evaluation.clip_choice import find_evaluation_clips
from dcfm_ros.training.evaluation.setting import Setting
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.label_sets import LabelSet


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """A part of a dataset, and how the engine runs over it.

    Raises:
        ValueError: If `interval` or `mode` is not allowed.
    """

    dataset: str
    root: Path
    """Folder of the dataset; becomes absolute, links followed."""
    split: str
    interval: int
    """Keyframe interval, frames."""
    mode: str
    """'both' or 'past'."""
    classes: str | None = None
    """Label set, by name or path, in whose classes the labels are read."""
    hold_out_share: float | None = None
    """Only what a training with this `data.hold_out_share` keeps for validation; None: all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'root', self.root.resolve())
        Setting(interval=self.interval, mode=self.mode)

    def clips(self) -> list[Clip]:
        """Find them.

        Raises:
            FileNotFoundError: If a folder is absent.
            ValueError: If the data is incomplete, or shares no class with `classes`, or
                `hold_out_share` is not allowed or leaves no label.
        """
        return find_evaluation_clips(
            self.dataset,
            self.root,
            self.split,
            classes=self.classes,
            hold_out_share=self.hold_out_share,
        )

    def check(self, trained: LabelSet, *, by_age: bool) -> None:
        """See that a network can be evaluated on it, before one is trained.

        Args:
            trained: Classes of the network.
            by_age: Whether non-key frames are also measured at every age of the interval.

        Raises:
            FileNotFoundError: If a folder is absent.
            ValueError: If the data is incomplete or does not fit.
        """
        if by_age and self.interval < 2:
            text = 'at least 2 where non-key frames are measured by age'
            raise ValueError(f'`interval` must be {text}, got {self.interval}')
        clips = self.clips()
        labels = clips[0].labels
        if labels.num_classes != trained.num_classes:
            text = (
                f'{trained.num_classes} classes of {trained.name}, or be read as them (`classes`)'
            )
            found = f'the {labels.num_classes} of {labels.name} in {self.root}'
            raise ValueError(f'`data` must have the {text}, got {found}')
        oldest = max((clip.labelled[-1] for clip in clips if clip.labelled), default=-1)
        # A training may well validate on stills, which are keyframes only.
        needed = min(self.interval - 1, 1) if self.hold_out_share is None else 0
        needed = self.interval - 1 if by_age else needed
        if oldest < needed:
            text = f'a labelled frame with {needed} frames before it'
            raise ValueError(f'`data` must have {text}, got none in {self.root}')


def named(data: Sequence[EvaluationData]) -> dict[str, EvaluationData]:
    """Give names to files and columns; where only roots differ, the names say in what.

    Raises:
        ValueError: If two of the data are the same.
    """
    names = [f'{item.dataset}_{_part(item)}_k{item.interval}_{item.mode}' for item in data]
    result = {}
    for name, item in zip(names, data, strict=True):
        alike = [other.root for other, its in zip(data, names, strict=True) if its == name]
        result['-'.join([name, *item.root.relative_to(os.path.commonpath(alike)).parts])] = item
    if len(result) < len(data):
        raise ValueError(f'`data` must differ from each other, got only {", ".join(result)}')
    return result


def _part(item: EvaluationData) -> str:
    share = item.hold_out_share
    return item.split if share is None else f'{item.split}_held_{share:g}'
