"""Notes of an evaluation: figures that are absent, or say less than they seem to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dcfm_ros.training.evaluation.scores import PassScores
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.frame_check import absent_classes
from dcfm_ros.training.footage.label_sets import LabelSet

NO_STREAMING = (
    'streaming_miou is left out: workers that share a machine do not take the time that one takes '
    'alone; assume times (--key-ms, --nonkey-ms) or use one process'
)
KEYFRAMES_ONLY = (
    'no clip has a second frame: whatever the interval, all figures are of keyframes, and there '
    'are none of non-key frames'
)


def note_on_held_out(share: float, clips: Sequence[Clip]) -> str:
    """What was evaluated of a dataset of which a training keeps a share."""
    count = sum(len(clip.labelled) for clip in clips)
    kept = f'a training with hold_out_share {share:g} keeps for validation'
    return f'only what {kept}: {count} labelled frames'


def notes_on_keyframes(clips: Sequence[Clip], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which rows' labels are met by keyframes at least twice as often as the interval says."""
    if all(len(clip.frames) < 2 for clip in clips):
        return [KEYFRAMES_ONLY] * any(row['interval'] != 1 for row in rows)
    return [
        f'interval {row["interval"]}: {row["keyframe_share"]:.0%} of the counted labels are met '
        f'by keyframes, not one in {row["interval"]}, so its figures are not those of a long run'
        for row in rows
        if row['schedule'] == 'fixed' and (row['keyframe_share'] or 0) * row['interval'] >= 2
    ]


def notes_on_classes(labels: LabelSet, scores: Iterable[PassScores]) -> list[str]:
    """Which classes no label that was counted has."""
    pixels = np.sum([score.engine.pooled().label_pixels() for score in scores], axis=0)
    absent = absent_classes(labels.class_names, np.flatnonzero(pixels).tolist(), 'counted')
    if not absent or not pixels.any():
        return [absent] if absent else []
    return [f'{absent}; such a class counts 0 in `miou` and is left out of `miou_labelled`']
