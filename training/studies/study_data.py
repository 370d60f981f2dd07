"""What the trained networks of a study are evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
import os
from pathlib import Path
from typing import Any

from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.setting import Setting
from dcfm_ros.training.footage.label_sets import LabelSet


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """A part of a dataset, and how the engine runs over it.

    Raises:
        ValueError: If `interval` or `mode` is not allowed.
    """

    choice: ClipChoice
    """The clips; the root becomes absolute, links followed."""
    interval: int
    """Keyframe interval, frames."""
    mode: str
    """'both' or 'past'."""

    def __post_init__(self) -> None:
        root = self.choice.root.resolve()
        object.__setattr__(self, 'choice', replace(self.choice, root=root))
        self.setting  # noqa: B018 - which checks the two

    @property
    def setting(self) -> Setting:
        """The setting of its figures."""
        keyframes = ScheduleOptions(keyframe_interval=self.interval)
        return Setting(keyframes=keyframes, mode=self.mode)

    def values(self) -> dict[str, Any]:
        """All that it says, fit for JSON."""
        own = {'root': str(self.choice.root), 'interval': self.interval, 'mode': self.mode}
        return asdict(self.choice) | own

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
        clips = self.choice.find()
        labels = clips[0].labels
        if labels.num_classes != trained.num_classes:
            expected = f'{trained.num_classes} classes of {trained.name}'
            found = f'the {labels.num_classes} of {labels.name} in {self.choice.root}'
            text = f'`data` must have the {expected}, or be read as them (`classes`), got {found}'
            raise ValueError(text)
        oldest = max((clip.labelled[-1] for clip in clips if clip.labelled), default=-1)
        # A training may well validate on stills, which are keyframes only.
        needed = min(self.interval - 1, 1) if self.choice.hold_out_share is None else 0
        needed = self.interval - 1 if by_age else needed
        if oldest < needed:
            text = f'a labelled frame with {needed} frames before it'
            raise ValueError(f'`data` must have {text}, got none in {self.choice.root}')


def named(data: Sequence[EvaluationData]) -> dict[str, EvaluationData]:
    """Give names to files and columns; where only roots differ, the names say in what.

    Raises:
        ValueError: If two of the data are the same.
    """
    roots: dict[str, list[Path]] = {}
    for item in data:
        roots.setdefault(_name(item), []).append(item.choice.root)
    result = {}
    for item in data:
        own = item.choice.root.relative_to(os.path.commonpath(roots[_name(item)]))
        result['-'.join([_name(item), *own.parts])] = item
    if len(result) < len(data):
        raise ValueError(f'`data` must differ from each other, got only {", ".join(result)}')
    return result


def _name(item: EvaluationData) -> str:
    choice, share = item.choice, item.choice.hold_out_share
    held = '' if share is None else f'_held_{share:g}'
    return f'{choice.dataset}_{choice.split}{held}_k{item.interval}_{item.mode}'
