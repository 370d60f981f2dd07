"""Evaluation of the engine that the robot runs, on the labelled frames of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dcfm_ros.models.checkpoint import load_checkpoint, read_metadata
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.evaluation.clip_choice import find_evaluation_clips
from dcfm_ros.training.evaluation.jobs import (
    PER_FRAME,
    ClipWork,
    Job,
    Options,
    Plan,
    PlanScores,
)
from dcfm_ros.training.evaluation.scores import LabelHold
from dcfm_ros.training.evaluation.setting import Setting
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.frame_check import absent_classes
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.workers import map_in_order

NO_STREAMING = (
    'streaming_miou is left out: workers that share a machine do not take the time that one takes '
    'alone; assume times (--key-ms, --nonkey-ms) or use one process'
)
KEYFRAMES_ONLY = (
    'no clip has a second frame: whatever the interval, all figures are of keyframes, and there '
    'are none of non-key frames'
)


def check_classes(name: str, num_classes: int, labels: LabelSet) -> None:
    """Raise ValueError unless a network has as many classes as the labels that it is to meet."""
    if num_classes != labels.num_classes:
        expected = f'must have the {labels.num_classes} classes of {labels.name}'
        raise ValueError(f'{name} {expected}, got {num_classes}')


def evaluate_dataset(
    checkpoint: Path | str,
    dataset: str,
    root: Path | str,
    split: str = 'val',
    intervals: Sequence[int] = (1, 2, 4, 8),
    thresholds: Sequence[float] = (),
    mode: str = 'past',
    phases: str = 'all',
    *,
    min_interval: int = 1,
    max_interval: int | None = None,
    score: str = 'image',
    confidence_drop: float | None = None,
    executions: Sequence[str] = ('sync',),
    slices: int | None = None,
    classes: str | None = None,
    hold_out_share: float | None = None,
    baselines: Sequence[Path | str] = (),
    floors: bool = True,
    options: Options | None = None,
    jobs: int = 1,
    ray_address: str | None = None,
    threads: int = 1,
) -> dict[str, object]:
    """Evaluate a checkpoint on a dataset.

    Args:
        checkpoint: A network of the dataset's classes, or of `classes`.
        dataset: As in `find_evaluation_clips`, like the next two and the share.
        root: Folder of the dataset.
        split: Part of it.
        intervals: Keyframe intervals of fixed schedules in frames, a row each.
        thresholds: Change scores of adaptive schedules, a row each.
        mode: 'past' or 'both', see `Setting`.
        phases: 'all', 'first' or 'video-index', see `Setting`.
        min_interval: Of adaptive schedules, frames.
        max_interval: Of adaptive schedules, frames; None: no limit.
        score: What adaptive schedules compare, 'image' or 'feature'.
        confidence_drop: Of adaptive schedules, see `Setting`.
        executions: 'sync', 'amortised' or both; every schedule gets a row for each.
        slices: See `Setting`; of the amortised ones.
        classes: Label set, by name or path, in whose classes the dataset's labels are read.
        hold_out_share: Of what a training keeps for validation; None: everything.
        baselines: Checkpoints that are run on every frame by itself.
        floors: See `evaluate_clips`, as for the rest.
        options: How networks are run; without a height, each at that of its training.
        jobs: Processes, or tasks on Ray.
        ray_address: Where Ray is.
        threads: Of each process.

    Returns:
        {'dataset', 'split', 'checkpoint', ...} and what `evaluate_clips` returns.

    Raises:
        FileNotFoundError: If a file or folder is absent.
        CheckpointError: If a checkpoint cannot be used.
        ValueError: If the data is incomplete or does not fit, or an argument is not allowed.
    """
    if slices is not None and 'amortised' not in executions:
        raise ValueError(f'`slices` ({slices}) needs `executions` with amortised')
    schedules: list[dict[str, Any]] = [{'interval': interval} for interval in intervals]
    schedules += [
        {
            'interval': min_interval,
            'max_interval': max_interval,
            'score': score,
            'confidence_drop': confidence_drop,
            'threshold': threshold,
        }
        for threshold in thresholds
    ]
    settings = [
        Setting(
            **schedule,
            mode=mode,
            phases=phases,
            execution=execution,
            slices=slices if execution == 'amortised' else None,
        )
        for execution in executions
        for schedule in schedules
    ]
    clips = find_evaluation_clips(
        dataset, Path(root), split, classes=classes, hold_out_share=hold_out_share
    )
    paths = (checkpoint, *baselines)
    figures: dict[str, Any] = evaluate_clips(
        {str(path): load_checkpoint(path) for path in paths},
        clips,
        list(dict.fromkeys(settings)),  # in one slice, amortised is sync
        trained_heights={str(path): read_metadata(path).image_height for path in paths},
        floors=floors,
        options=options,
        jobs=jobs,
        ray_address=ray_address,
        threads=threads,
    )
    if hold_out_share is not None:
        count = sum(len(clip.labelled) for clip in clips)
        kept = f'a training with hold_out_share {hold_out_share:g} keeps for validation'
        figures['notes'].insert(0, f'only what {kept}: {count} labelled frames')
    head = {'dataset': dataset, 'split': split, 'hold_out_share': hold_out_share}
    head |= {'checkpoint': str(checkpoint), 'classes': clips[0].labels.name, 'clips': len(clips)}
    return head | figures


def evaluate_clips(
    nets: Mapping[str, DCFM],
    clips: Sequence[Clip],
    settings: Sequence[Setting],
    *,
    trained_heights: Mapping[str, int] | None = None,
    floors: bool = True,
    options: Options | None = None,
    jobs: int = 1,
    ray_address: str | None = None,
    threads: int = 1,
) -> dict[str, object]:
    """Run the engine over clips.

    Accuracies are the same whatever `jobs` and `ray_address` are, and on other machines, as long
    as `threads` is. Times are not: several workers keep each other waiting. The streaming accuracy
    follows from times, so with several workers it is left out unless `options` assumes them.

    Args:
        nets: The network by name, and after it others, to compare with, that are run on every
            frame by itself.
        clips: All of the same classes.
        settings: Schedules of the first network, a row each.
        trained_heights: Rows of the images that a network was trained on, by its name; 0 or
            absent: unknown.
        floors: Also rows of that network on every frame by itself (schedule 'per_frame') and of
            its keyframes' masks repeated until the next keyframe ('hold'), if not amortised.
        options: How networks are run.
        jobs: See `map_in_order`, as for the rest.
        ray_address: Where Ray is.
        threads: Of each process.

    Returns:
        'rows', baselines and floors first, 'label_hold' {distance: mIoU}, how it was done, and
        'notes', sentences about figures that are absent or say less than they seem to.
        Fractions are in [0, 1], None where undefined; `ms_key` and `ms_nonkey` are medians of the
        engine's time per frame. `average_interval` is frames per keyframe of the schedule on all
        clips with a label, of all their frames. `by_age` has frames, mIoU and median time for
        every age of the feature in use. `hold_miou*` is what the keyframes' masks score when they
        are repeated, `label_hold_miou*` their hand-made labels.

    Raises:
        ValueError: If networks, clips, settings and options do not fit each other.
    """
    options = options or Options()
    main, *others = nets
    trained_heights = trained_heights or {}
    heights = {name: options.height or trained_heights.get(name) or None for name in nets}
    baselines = [*others, *([main] if floors else [])]
    plans = [Plan(main, setting) for setting in settings]
    plans += [Plan(name, PER_FRAME) for name in baselines]
    plans = list(dict.fromkeys(plans))
    _check(nets, clips, plans, options)
    can_stream = options.streaming and any(plan.setting.mode == 'past' for plan in plans)
    if options.frame_times and not can_stream:
        raise ValueError('`key_ms` and `nonkey_ms` must not be given where nothing is streamed')
    is_alone = jobs == 1 and ray_address is None
    is_streaming = can_stream and (is_alone or options.frame_times is not None)
    todo = [job for plan in plans for job in plan.jobs(clips, streaming=is_streaming)]
    todo += [Job(index) for index in range(len(clips)) if floors]
    results = map_in_order(
        ClipWork(nets, clips, options, heights),
        todo,
        jobs,
        ray_address,
        'evaluating',
        threads=threads,
        uses_gpu=options.device != 'cpu',
    )
    labels = clips[0].labels
    scores = {plan: PlanScores(labels.class_names) for plan in plans}
    label_hold = LabelHold(labels.num_classes)
    for job, result in zip(todo, results, strict=True):
        if job.plan is not None:
            scores[job.plan].add(result)
        elif isinstance(result, LabelHold):
            label_hold.merge(result)
    rows = [
        scores[Plan(name, PER_FRAME)].row(name, heights[name], PER_FRAME, 'per_frame')
        for name in baselines
    ]
    for kind in ('hold', None) if floors else (None,):
        for setting in settings:
            plan = Plan(main, setting)
            if kind is None or (plan.is_video and setting.execution == 'sync'):
                schedule = kind or setting.schedule
                rows.append(scores[plan].row(main, heights[main], setting, schedule))
    times = asdict(options.frame_times) if options.frame_times else 'measured'
    return {
        'backend': options.backend,
        'flip': options.flip,
        'motion': options.motion,
        'scales': list(options.scales) or None,
        'streaming_times': times if is_streaming else None,
        'streaming_rate_hz': options.rate_hz if is_streaming else None,
        'threads': threads,
        'label_hold': label_hold.values() if floors else None,
        'notes': [NO_STREAMING] * (can_stream and not is_streaming)
        + _notes_on_labels(clips, rows)
        + _notes_on_classes(labels, scores.values()),
        'rows': rows,
    }


def _notes_on_labels(clips: Iterable[Clip], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to know of rows whose labels are met by keyframes at least twice as often as frames."""
    if all(len(clip.frames) < 2 for clip in clips):
        return [KEYFRAMES_ONLY] * any(row['interval'] != 1 for row in rows)
    return [
        f'interval {row["interval"]}: {row["keyframe_share"]:.0%} of the counted labels are met '
        f'by keyframes, not one in {row["interval"]}, so its figures are not those of a long run'
        for row in rows
        if row['schedule'] == 'fixed' and (row['keyframe_share'] or 0) * row['interval'] >= 2
    ]


def _notes_on_classes(labels: LabelSet, scores: Iterable[PlanScores]) -> list[str]:
    """What to know where no label that was counted has some class, or any."""
    pixels = sum(score.label_pixels() for score in scores)
    absent = absent_classes(labels.class_names, np.flatnonzero(pixels).tolist(), 'counted')
    effect = 'such a class counts 0 in `miou` and is left out of `miou_labelled`'
    return [f'{absent}; {effect}'] if absent and np.any(pixels) else [absent] if absent else []


def _check(
    nets: Mapping[str, DCFM], clips: Sequence[Clip], plans: Iterable[Plan], options: Options
) -> None:
    """Raise ValueError unless they fit each other."""
    if not any(clip.labelled for clip in clips):
        raise ValueError('`clips` must have a labelled frame, got none')
    for name, net in nets.items():
        check_classes(name, net.config.num_classes, clips[0].labels)
    if options.scales and any(plan.is_video for plan in plans):
        raise ValueError(
            '`scales` must be empty unless every interval is 1: a cached feature belongs to one '
            'size, so there is no multi-scale video mode'
        )
    if not options.flip:
        return
    if any(plan.setting.execution != 'sync' for plan in plans):
        raise ValueError("`flip` must be off unless every `execution` is 'sync'")
    if any(plan.setting.score == 'feature' and plan.setting.mode == 'both' for plan in plans):
        raise ValueError(
            "`flip` must be off where features are compared in mode 'both': those of the mirrored "
            'images ask for other keyframes'
        )
