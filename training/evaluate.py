"""Evaluation of the engine that the robot runs, over clips with a label for every frame.

Shapes: N frames of a clip, H W image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import math
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.camvid_stills import LabelledFrame, find_camvid, load_frames
from dcfm_ros.training.metrics import ConfusionMatrix, VideoConsistency

Image = NDArray[np.uint8]
Clip = Sequence[tuple[Image, Image]]
"""(RGB image (H, W, 3), label (H, W)) of every frame, in time order."""

RATE_HZ = 15.0
"""Frame rate of CamVid's dense clip: every second frame of a 30 Hz video is labelled."""
DENSE_STEP = 2
"""Difference of the numbers in the names of two such frames."""
HOLD_DISTANCES = (1, 2, 3, 4, 8)


class Scores:
    """Metrics of one schedule, pooled over clips and start phases."""

    def __init__(self, num_classes: int) -> None:
        self.confusion = {name: ConfusionMatrix(num_classes) for name in ('all', 'key', 'nonkey')}
        self.consistency = {window: VideoConsistency(window) for window in (8, 16)}
        self.num_frames = {'key': 0, 'nonkey': 0}

    def add_clip(
        self, masks: Sequence[Image], labels: Sequence[Image], is_keyframe: Sequence[bool]
    ) -> None:
        """Count one clip: N masks, labels (H, W) and what each frame was to the schedule."""
        for mask, label, key in zip(masks, labels, is_keyframe, strict=True):
            role = 'key' if key else 'nonkey'
            self.num_frames[role] += 1
            self.confusion['all'].update(mask, label)
            self.confusion[role].update(mask, label)
        for consistency in self.consistency.values():
            consistency.add_clip(masks, labels)

    def values(self) -> dict[str, float | int | None]:
        """The figures of a row; fractions in [0, 1], None where undefined."""
        total = sum(self.num_frames.values())
        miou = {
            role: self.confusion[role].miou() if count else math.nan
            for role, count in {**self.num_frames, 'all': total}.items()
        }
        return {
            'miou': _or_none(miou['all']),
            'wiou': _or_none(self.confusion['all'].wiou()),
            'miou_key': _or_none(miou['key']),
            'miou_nonkey': _or_none(miou['nonkey']),
            'mvc8': _or_none(self.consistency[8].value()),
            'mvc16': _or_none(self.consistency[16].value()),
            'keyframe_share': _or_none(self.num_frames['key'] / total if total else math.nan),
            'frames': total,
        }


def evaluate_clips(
    net: DCFM,
    clips: Sequence[Clip],
    interval: int,
    phases: str = 'all',
    device: str = 'auto',
    backend: str = 'auto',
) -> dict[str, object]:
    """Run the engine over clips at one keyframe interval.

    Args:
        net: The network.
        clips: What to segment; every frame has a label of the image's size.
        interval: Keyframe interval in frames, at least 1.
        phases: 'first' starts every clip once, with its first frame as a keyframe; 'all' starts
            it at each of its first `interval` frames and pools, so that a frame is met at
            every age.
        device: As in `SegmentationEngine`.
        backend: As in `SegmentationEngine`.

    Returns:
        One row of the evaluation's JSON. `hold_miou` and `hold_miou_nonkey` are what the same
        engine's keyframe masks score when they are simply repeated until the next keyframe;
        `label_hold_miou*` are the same with the keyframe's hand-made label, where it has one.
        `ms_key` and `ms_nonkey` are medians of the engine's time per frame.

    Raises:
        ValueError: If `interval` or `phases` is not as above, or there is no frame.
    """
    if phases not in ('all', 'first'):
        raise ValueError(f"`phases` must be 'all' or 'first', got {phases!r}")
    if not any(len(clip) for clip in clips):
        raise ValueError('`clips` must hold at least one frame')
    num_classes = net.config.num_classes
    names = ('engine', 'hold', 'label_hold')
    scores = {name: Scores(num_classes) for name in names}
    times: dict[bool, list[float]] = {True: [], False: []}
    starts = interval if phases == 'all' else 1
    for clip in clips:
        for start in range(min(starts, len(clip))):
            engine = SegmentationEngine(net, device=device, backend=backend, schedule=interval)
            frames = clip[start:]
            masks, keys = [], []
            for index, (image, _) in enumerate(frames):
                result = engine.step(image, round(index * 1e9 / RATE_HZ))
                masks.append(result.mask)
                keys.append(result.is_keyframe)
                times[result.is_keyframe].append(sum(result.stage_ms.values()))
            labels = [label for _, label in frames]
            scores['engine'].add_clip(masks, labels, keys)
            scores['hold'].add_clip(hold(masks, keys), labels, keys)
            held = hold(labels, keys)
            scores['label_hold'].add_clip(held, _both_known(held, labels), keys)
    row: dict[str, object] = {'interval': interval, 'mode': 'past', 'schedule': 'fixed'}
    row.update(scores['engine'].values())
    for name in names[1:]:
        values = scores[name].values()
        row[f'{name}_miou'] = values['miou']
        row[f'{name}_miou_nonkey'] = values['miou_nonkey']
    row['ms_key'] = round(median(times[True]), 3) if times[True] else None
    row['ms_nonkey'] = round(median(times[False]), 3) if times[False] else None
    return row


def evaluate_camvid(
    checkpoint: Path | str,
    root: Path | str,
    intervals: Sequence[int] = (1, 2, 4, 8),
    split: str = 'val',
    phases: str = 'all',
    device: str = 'auto',
    backend: str = 'auto',
) -> dict[str, object]:
    """Evaluate a checkpoint on CamVid's dense clip.

    Args:
        checkpoint: A network of CamVid's 11 classes.
        root: CamVid in the 480x360 layout (see `datasets.find_camvid`).
        intervals: Keyframe intervals, in frames.
        split: A split with a label for every frame of a 15 Hz video: 'val'.
        phases: See `evaluate_clips`.
        device: As in `SegmentationEngine`.
        backend: As in `SegmentationEngine`.

    Returns:
        {'dataset', 'split', 'checkpoint', 'phases', 'label_hold': {distance: mIoU}, 'rows'}.

    Raises:
        ValueError: If the split is not dense, or an argument is not allowed.
    """
    net = load_checkpoint(checkpoint)
    clips = [load_frames(clip) for clip in dense_clips(find_camvid(Path(root), split))]
    if max(intervals) > 1 and max(len(clip) for clip in clips) < 2:
        raise ValueError(f'`split` must be labelled densely for intervals above 1, got {split!r}')
    rows = []
    for interval in tqdm(intervals, 'keyframe intervals', disable=None):
        rows.append(evaluate_clips(net, clips, interval, phases, device, backend))
    labels = [[label for _, label in clip] for clip in clips]
    return {
        'dataset': 'camvid',
        'split': split,
        'checkpoint': str(checkpoint),
        'phases': phases,
        'label_hold': label_hold(labels, net.config.num_classes),
        'rows': rows,
    }


def dense_clips(frames: Sequence[LabelledFrame]) -> list[list[LabelledFrame]]:
    """Cut a list of frames where the drive changes or frames are missing."""
    clips: list[list[LabelledFrame]] = []
    for frame in frames:
        last = clips[-1][-1] if clips else None
        follows = (
            last is not None
            and last.sequence == frame.sequence
            and _number(frame) - _number(last) <= DENSE_STEP
        )
        if follows:
            clips[-1].append(frame)
        else:
            clips.append([frame])
    return clips


def hold(masks: Sequence[Image], is_keyframe: Sequence[bool]) -> list[Image]:
    """Repeat every keyframe's mask until the next keyframe."""
    return list(_held(masks, is_keyframe))


def label_hold(
    clips: Sequence[Sequence[Image]], num_classes: int, distances: Sequence[int] = HOLD_DISTANCES
) -> Mapping[str, float]:
    """The mIoU of showing the label of d frames ago, by d: the floor of any video method.

    Pixels that had no class d frames ago are not counted.
    """
    values = {}
    for distance in distances:
        confusion = ConfusionMatrix(num_classes)
        for labels in clips:
            old, new = labels[:-distance], labels[distance:]
            for old_label, new_label in zip(old, _both_known(old, new), strict=True):
                confusion.update(old_label, new_label)
        values[str(distance)] = confusion.miou()
    return values


def _held(masks: Sequence[Image], is_keyframe: Sequence[bool]) -> Iterator[Image]:
    kept = masks[0]
    for mask, key in zip(masks, is_keyframe, strict=True):
        if key:
            kept = mask
        yield kept


def _both_known(old: Sequence[Image], new: Sequence[Image]) -> list[Image]:
    """The new labels without the pixels that the old ones say nothing about."""
    return [
        np.where(first == UNLABELLED, UNLABELLED, second).astype(np.uint8)
        for first, second in zip(old, new, strict=True)
    ]


def _number(frame: LabelledFrame) -> int:
    return int(frame.image.stem.rsplit('_', 1)[1])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
