"""Makes the source of pairs that `SourceOptions` describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import CAMVID_NAMES, UNLABELLED
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.datasets import search_clips
from dcfm_ros.training.footage.drive_cache import rendered_drives
from dcfm_ros.training.footage.label_sets import CAMVID, LabelSet, mapped
from dcfm_ros.training.pairs.gaps import Gaps
from dcfm_ros.training.pairs.pair_sources import (
    DrivePairs,
    LabelledFrames,
    PairSource,
    VideoPairs,
)
from dcfm_ros.training.pairs.source_options import RENDERED, SourceOptions
from dcfm_ros.training.pairs.still_pairs import LayeredPairs, RoadScenePairs, StillPairs


def source_clips(
    options: SourceOptions, target: LabelSet, cache_dir: Path, problems: list[str]
) -> list[Clip]:
    """Clips of a source, none for rendered drives; what is wrong with it is added to `problems`.

    Args:
        options: What to look for.
        target: The classes of the training, in which labels are read.
        cache_dir: Where the frames of bags are kept.
        problems: A line each.
    """
    try:
        if options.chosen_motion == 'street' and target.class_names != CAMVID_NAMES:
            msg = "'layers' or 'video' for classes other than CamVid's"
            raise ValueError(f"`motion` must be {msg}, got 'street' for {target.name}")
        if options.root is None:
            in_classes_of(target, CAMVID)
            return []
        clips = search_clips(
            options.dataset, options.root, options.split, problems, cache_dir=cache_dir
        )
        if clips and not any(clip.labelled for clip in clips):
            problems.append(f'{options}: no frame has a label')
        read = [replace(clip, labels=in_classes_of(target, clip.labels)) for clip in clips]
    except (OSError, ValueError) as error:
        problems.append(f'{options}: {error}')
        return []
    if clips and (names := _ignored_sets(clips[0].labels, read[0].labels)):
        why = f'{target.name} lacks one of the classes'
        rank_zero_warn(f'{options}: pixels of {", ".join(names)} are ignored, for {why}')
    return read


def with_all_sets(sources: Sequence[Sequence[Clip]]) -> list[list[Clip]]:
    """The clips of sources, in all of which one id stands for one set of classes.

    Raises:
        ValueError: If there are more sets than ids.
    """
    sets = tuple(sorted({s for clips in sources for clip in clips for s in clip.labels.sets}))
    return [[replace(c, labels=c.labels.with_sets(sets)) for c in clips] for clips in sources]


def load_source(
    options: SourceOptions,
    clips: Sequence[Clip],
    gaps: Gaps,
    target: LabelSet,
    cache_dir: Path,
) -> PairSource:
    """Make the source; stills and videos that are kept in memory are decoded now.

    Args:
        options: What to make.
        clips: Its clips, with the classes of `target`; not used for rendered drives.
        gaps: How far apart the frames of a pair are.
        target: The classes of the training.
        cache_dir: Where rendered drives are kept.
    """
    motion = options.chosen_motion
    if options.dataset == RENDERED:
        still = motion == 'none'
        drives = load_drives(options, cache_dir)
        return DrivePairs(*drives, None if still else gaps, in_classes_of(target, CAMVID))
    if motion == 'none':
        is_camvid = options.dataset == 'camvid'
        with_objects = is_camvid and target.class_names == CAMVID_NAMES
        paste_share = options.paste_share if with_objects else 0.0
        stills = LabelledFrames(clips)
        in_memory = options.in_memory or is_camvid
        return StillPairs(list(stills) if in_memory else stills, paste_share)
    if motion == 'layers':
        return LayeredPairs(LabelledFrames(clips), gaps)
    if motion == 'street':
        sets = clips[0].labels.sets if clips else ()
        return RoadScenePairs(LabelledFrames(clips), gaps, options.paste_share, sets)
    pairs = VideoPairs(clips, gaps, options.in_memory)
    if pairs.num_alone:
        rank_zero_warn(
            f'{options}: {pairs.num_alone} of {len(pairs)} labelled frames have no neighbour '
            'and are paired with themselves, which teaches nothing about time; '
            '`motion: layers` (what `stills` does) moves them'
        )
    return pairs


def load_drives(
    options: SourceOptions, cache_dir: Path
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images and labels of rendered drives (see `drive_cache`), rendered now if they are new."""
    return rendered_drives(cache_dir, options.num_drives, options.frames_per_drive, *options.size)


def in_classes_of(target: LabelSet, own: LabelSet) -> LabelSet:
    """`own`, read in the classes of `target`."""
    return own if own.class_names == target.class_names else mapped(own, target)


def _ignored_sets(own: LabelSet, read: LabelSet) -> list[str]:
    """Names of the sets of classes whose values are ignored as they are read."""
    ignored = np.flatnonzero(own.allowed & (read.to_class == UNLABELLED)).tolist()
    classes = dict.fromkeys(own.classes_of(value) for value in ignored)
    return [repr(own.entry_name(those)) for those in classes if len(those) > 1]
