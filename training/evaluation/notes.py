"""Notes of an evaluation: figures that are absent, or say less than they seem to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
    """Rows whose figures are not what they seem.

    Their labels are met by keyframes at least twice as often as the interval says, or their held
    masks are of fewer frames than the engine's.
    """
    if all(len(clip.frames) < 2 for clip in clips):
        return [KEYFRAMES_ONLY] * any(row['interval'] != 1 for row in rows)
    return _notes_on_hold(rows) + [
        f'interval {row["interval"]}: {row["keyframe_share"]:.0%} of the counted labels are met '
        f'by keyframes, not one in {row["interval"]}, so its figures are not those of a long run'
        for row in rows
        if row['schedule'] == 'fixed' and (row['keyframe_share'] or 0) * row['interval'] >= 2
    ]


def _notes_on_hold(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where frames before the first keyframe have a mask of the engine, in mode 'both'."""
    fixed = [row for row in rows if row['schedule'] == 'fixed' and row['execution'] == 'sync']
    frames = {(row['interval'], row['mode']): row['frames'] for row in fixed}
    return [
        f'interval {row["interval"]}, mode {row["mode"]}: figures of `hold` are of '
        f'{row["frames"]} frames, `miou` is of {count}: no mask is held before the first keyframe'
        for row in rows
        if row['schedule'] == 'hold'
        and (count := frames.get((row['interval'], row['mode']), 0)) > row['frames']
    ]


def notes_on_classes(labels: LabelSet, scores: Iterable[PassScores]) -> list[str]:
    """Which classes no counted label has, and what figures of single classes leave out."""
    counts: Counter[str] = Counter()
    for engine in (score.engine for score in scores):
        pixels = engine.pooled().label_pixels().tolist()
        of_classes = dict(zip(labels.class_names, pixels, strict=True))
        if engine.coarse is not None:
            pixels = engine.coarse.confusion.label_pixels().tolist()
            counts.update(dict(zip(engine.coarse.names, pixels, strict=True)) | of_classes)
        else:
            counts.update(of_classes)
    ids = [index for index, name in enumerate(labels.id_names) if counts[name]]
    of_one_class = sum(counts[name] for name in labels.class_names)
    absent = absent_classes(labels.class_names, ids, 'counted', labels.sets)
    if absent and of_one_class:
        absent += '; such a class counts 0 in `miou` and is left out of `miou_labelled`'
    sets = {name: counts[name] for name in labels.id_names[labels.num_classes :]}
    return [note for note in (absent, _note_on_sets(sets, of_one_class)) if note]


def _note_on_sets(sets: Mapping[str, int], pixels: int) -> str:
    """What figures leave out: pixels by set of classes, and pixels of single classes."""
    if not (total := sum(sets.values()) + pixels) or not sets:
        return ''
    note = (
        f'{pixels / total:.0%} of the labelled pixels are of one class: all figures but '
        '`coarse_miou` and `coarse_iou` count no others'
    )
    if missing := [name for name, count in sets.items() if not count]:
        note += f'; no counted label is {", ".join(missing)}, which counts 0 in `coarse_miou`'
    return note
