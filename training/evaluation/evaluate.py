"""Evaluation of the engine that the robot runs, on the labelled frames of a dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from dcfm_ros.backends.choice import Network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.masks.groups import ClassGroups, read_groups
from dcfm_ros.training.ablated_network import load_for_engine, read_network_metadata
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.jobs import ClipWork, Job, Options, Plan, row_of
from dcfm_ros.training.evaluation.notes import (
    NO_STREAMING,
    note_on_held_out,
    notes_on_classes,
    notes_on_keyframes,
)
from dcfm_ros.training.evaluation.scores import LabelHold, PassScores
from dcfm_ros.training.evaluation.setting import PER_FRAME, Setting
from dcfm_ros.training.evaluation.streaming import StreamScores
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.workers import map_in_order


def evaluate_dataset(
    checkpoint: Path | str,
    choice: ClipChoice,
    settings: Sequence[Setting],
    *,
    baselines: Sequence[Path | str] = (),
    floors: bool = True,
    options: Options | None = None,
    groups: Path | None = None,
    jobs: int = 1,
    ray_address: str | None = None,
    threads: int = 1,
) -> dict[str, object]:
    """Evaluate a checkpoint on a dataset.

    Its network has the classes of the dataset, or those that they are read as; baselines are
    checkpoints that are run on every frame by itself. Without a height in `options` each network
    works at that of its training. `groups` is a file of groups of the dataset's classes. All else
    is as in `evaluate_clips`.

    Returns:
        {'dataset', 'split', 'checkpoint', ...} and what `evaluate_clips` returns.

    Raises:
        FileNotFoundError: If a file or folder is absent.
        CheckpointError: If a checkpoint cannot be used.
        ValueError: If the data is incomplete or does not fit, or an argument is not allowed.
    """
    clips = choice.find()
    labels = clips[0].labels
    # Before the networks, which take longer to load.
    named = read_groups(groups, labels.class_names, labels.palette) if groups else None
    paths = (checkpoint, *baselines)
    how = options.engine if options else EngineOptions()
    figures: dict[str, Any] = evaluate_clips(
        {str(path): load_for_engine(path, how) for path in paths},
        clips,
        settings,
        trained_heights={str(path): read_network_metadata(path).image_height for path in paths},
        floors=floors,
        options=options,
        groups=named,
        jobs=jobs,
        ray_address=ray_address,
        threads=threads,
    )
    if choice.hold_out_share is not None:
        figures['notes'].insert(0, note_on_held_out(choice.hold_out_share, clips))
    return {
        'dataset': choice.dataset,
        'split': choice.split,
        'hold_out_share': choice.hold_out_share,
        'checkpoint': str(checkpoint),
        'classes': labels.name,
        'clips': len(clips),
        **figures,
    }


def evaluate_clips(
    nets: Mapping[str, Network],
    clips: Sequence[Clip],
    settings: Sequence[Setting],
    *,
    trained_heights: Mapping[str, int] | None = None,
    floors: bool = True,
    options: Options | None = None,
    groups: ClassGroups | None = None,
    jobs: int = 1,
    ray_address: str | None = None,
    threads: int = 1,
) -> dict[str, object]:
    """Run the engine over clips.

    Accuracies are the same whatever `jobs` and `ray_address` are, as long as `threads`, backend
    and precision are; 'auto' leaves these two to CPU and files. Times are not: workers keep each
    other waiting, so with several there is no streaming accuracy unless `options` assumes times.

    Args:
        nets: The network by name; after it others to compare with, run on every frame by itself.
        clips: All of the same classes.
        settings: Schedules of the first network, a row each.
        trained_heights: Image rows of their trainings, by name; 0 or absent: unknown.
        floors: Also rows of that network on every frame by itself (schedule 'per_frame') and of
            its keyframes' masks repeated until the next keyframe ('hold'), if not amortised.
        options: How networks are run.
        groups: Of the classes, to count the same pixels in, see `group_figures`.
        jobs: See `map_in_order`, as for the rest.
        ray_address: Where Ray is.
        threads: Of each process.

    Returns:
        'rows', baselines and floors first, 'label_hold' {distance: mIoU}, how it was asked for,
        and 'notes', sentences about figures that are absent or say less than they seem to.
        Fractions are in [0, 1], None where undefined; `backend` and `precision` of a row are those
        in use; `ms_key` and `ms_nonkey` are medians of the engine's time per frame.
        `average_interval` is frames per keyframe, of all frames of clips with a label. `by_age`
        has frames, mIoU and median time for every age of the feature in use, `ece` what
        `Reliability` says, `hold_miou*` what the keyframes' masks score when repeated, and
        `label_hold_miou*` their labels. Pixels of sets count in `coarse_*` (`CoarseScores`) only.

    Raises:
        ValueError: If networks, clips, settings and options do not fit each other.
    """
    options = options or Options()
    main, *others = nets
    baselines = [*others, *([main] if floors else [])]
    settings = options.as_run(nets[main], settings)
    plans = _plans(main, settings, baselines)
    _check(nets, clips, plans, options)
    can_stream = _can_stream(plans, options)
    is_alone = (jobs, ray_address) == (1, None)
    is_streaming = can_stream and (is_alone or options.frame_times is not None)
    heights = options.heights(nets, trained_heights or {})
    todo = [job for plan in plans for job in plan.jobs(clips, streaming=is_streaming)]
    todo += [Job(index) for index in range(len(clips)) if floors]
    work, uses_gpu = ClipWork(nets, clips, options, heights), options.engine.device != 'cpu'
    results: list[Any] = map_in_order(
        work, todo, jobs, ray_address, 'evaluating', threads=threads, uses_gpu=uses_gpu
    )
    labels = clips[0].labels
    passes, streams, label_hold = _collect(todo, results, labels)
    rows = [
        {'checkpoint': plan.network, 'height': heights[plan.network] or None}
        | passes[plan].backends()
        | row_of(passes[plan], streams[plan], labels.class_names, setting, schedule, groups)
        for plan, setting, schedule in _rows(main, baselines, settings, floors=floors)
    ]
    return {
        **_how(options, is_streaming=is_streaming),
        'threads': threads,
        'label_hold': label_hold.values() if floors else None,
        'notes': [
            *[NO_STREAMING] * (can_stream and not is_streaming),
            *notes_on_keyframes(clips, rows),
            *notes_on_classes(labels, passes.values()),
        ],
        'rows': rows,
    }


def _plans(main: str, settings: Sequence[Setting], baselines: Sequence[str]) -> list[Plan]:
    """Which networks run how, each once."""
    plans = [Plan(main, setting) for setting in settings]
    return list(dict.fromkeys([*plans, *(Plan(name, PER_FRAME) for name in baselines)]))


def _can_stream(plans: Iterable[Plan], options: Options) -> bool:
    can_stream = options.streaming and any(plan.setting.mode == 'past' for plan in plans)
    if options.frame_times and not can_stream:
        raise ValueError('`key_ms` and `nonkey_ms` must not be given where nothing is streamed')
    return can_stream


def _how(options: Options, *, is_streaming: bool) -> dict[str, object]:
    """How networks were to be run, for the JSON; what 'auto' came to is in the rows."""
    times = asdict(options.frame_times) if options.frame_times else 'measured'
    return {
        'backend': options.engine.backend,
        'precision': options.engine.precision,
        'flip': options.flip,
        'motion': options.engine.motion,
        'scales': list(options.scales) or None,
        'streaming_times': times if is_streaming else None,
        'streaming_rate_hz': options.rate_hz if is_streaming else None,
    }


def _collect(
    jobs: Sequence[Job], results: Sequence[Any], labels: LabelSet
) -> tuple[Mapping[Plan, PassScores], Mapping[Plan, StreamScores], LabelHold]:
    """Add up what the jobs have counted; a plan without jobs has counted nothing."""
    passes: Mapping[Plan, PassScores] = defaultdict(partial(PassScores, labels))
    streams: Mapping[Plan, StreamScores] = defaultdict(partial(StreamScores, labels.num_classes))
    label_hold = LabelHold(labels.num_classes)
    for job, result in zip(jobs, results, strict=True):
        if job.plan is None:
            label_hold.merge(result)
        else:
            (streams if job.start is None else passes)[job.plan].merge(result)
    return passes, streams, label_hold


def _rows(
    main: str, baselines: Sequence[str], settings: Sequence[Setting], *, floors: bool
) -> Iterator[tuple[Plan, Setting, str]]:
    """What each row is made of: its plan, its setting as it was asked for, and its schedule."""
    for name in baselines:
        yield Plan(name, PER_FRAME), PER_FRAME, 'per_frame'
    plans = [(Plan(main, setting), setting) for setting in settings]
    if floors:
        for plan, setting in plans:
            if plan.is_video and setting.execution == 'sync':
                yield plan, setting, 'hold'
    for plan, setting in plans:
        yield plan, setting, setting.keyframes.schedule


def _check(
    nets: Mapping[str, Network], clips: Sequence[Clip], plans: Iterable[Plan], options: Options
) -> None:
    """Raise ValueError unless they fit each other."""
    if not any(clip.labelled for clip in clips):
        raise ValueError('`clips` must have a labelled frame, got none')
    for name, net in nets.items():
        clips[0].labels.check_classes(name, net.config.num_classes)
    settings = [plan.setting for plan in plans]
    if options.scales and any(plan.is_video for plan in plans):
        raise ValueError(
            '`scales` must be empty unless every interval is 1: a cached feature belongs to one '
            'size, so there is no multi-scale video mode'
        )
    if options.flip and any(setting.execution != 'sync' for setting in settings):
        raise ValueError("`flip` must be off unless every `execution` is 'sync'")
    if options.flip and any(s.needs_network and s.mode == 'both' for s in settings):
        raise ValueError(
            "`flip` must be off where features are compared in mode 'both': those of the mirrored "
            'images ask for other keyframes'
        )
