"""Decodes every frame before a long job starts: what is wrong, and which classes occur."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
from typing import NamedTuple
import zlib

import numpy as np
from tqdm import tqdm

from dcfm_ros.files import write_text
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.decoding import decode_frame

IGNORED = 'in a mask 255 means ignored, and classes have ids from 0'


class FrameCheck(NamedTuple):
    """What decoding every frame has shown."""

    problems: list[str]
    """Files that are missing or unreadable, wrong sizes and label values, a line each."""
    class_ids: frozenset[int]
    """Ids of classes and of sets that occur in the labels, 255 (ignored) among them."""


def check_frames(clips: Iterable[Clip]) -> FrameCheck:
    """Decode every frame; the frames of a clip must have one size."""
    jobs = [(clip, frame) for clip in clips for frame in clip.frames]
    problems: list[str] = []
    class_ids: set[int] = set()
    sizes: dict[Clip, tuple[int, ...]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(_decode, jobs)
        decoded = tqdm(results, 'checking frames', len(jobs), disable=None, leave=False)
        for (clip, frame), (size, ids, wrong) in zip(jobs, decoded, strict=True):
            problems += wrong
            class_ids.update(ids)
            if size is not None and sizes.setdefault(clip, size) != size:
                others = f'other frames of its clip {sizes[clip]} (H, W)'
                problems.append(f'{frame.image} is {size}, {others}')
    return FrameCheck(problems, frozenset(class_ids))


def check_frames_once(clips: Sequence[Clip], folder: Path) -> FrameCheck:
    """`check_frames`, but files that were good before are not decoded again.

    `folder` gets a small file for each set of good files; any of them may be deleted.
    """
    record = folder / f'{_checksum(clips):08x}.classes'
    if record.exists():
        return FrameCheck([], frozenset(map(int, record.read_text(encoding='utf-8').split())))
    found = check_frames(clips)
    if not found.problems:
        write_text(record, ' '.join(map(str, sorted(found.class_ids))) + '\n')
    return found


def absent_classes(
    names: Sequence[str],
    class_ids: Iterable[int],
    where: str,
    sets: Sequence[Sequence[int]] = (),
) -> str:
    """A sentence that names the classes of which no label of some kind has a pixel, or ''.

    Args:
        names: Of the classes.
        class_ids: Those that occur, perhaps with 255 and with ids of sets.
        where: Kind of the labels, an adjective.
        sets: Sets of classes that labels may hold, with the ids behind those of the classes. A
            class that only they have is absent, and said to be in them.
    """
    present = set(class_ids)
    found = [classes for i, classes in enumerate(sets, len(names)) if i in present]
    absent = [i for i in range(len(names)) if i not in present]
    if not absent:
        return ''
    if len(absent) == len(names) and not found:
        return f'no pixel of any {where} label has a class: {IGNORED}'
    holders = {
        index: [' or '.join(names[i] for i in classes) for classes in found if index in classes]
        for index in absent
    }
    told = [
        repr(names[index]) + (f' (only {", ".join(sets)})' if sets else '')
        for index, sets in holders.items()
    ]
    sentence = f'no {where} label has class {", ".join(told)}'
    return sentence if all(holders.values()) else f'{sentence}; {IGNORED}'


def _decode(job: tuple[Clip, Frame]) -> tuple[tuple[int, ...] | None, list[int], list[str]]:
    """Size (H, W) of a frame, None if it cannot be read, its class ids, and what is wrong."""
    clip, frame = job
    problems: list[str] = []
    image, label = decode_frame(frame, clip.labels, problems)
    counts = np.zeros(0) if label is None else np.bincount(label.ravel())
    size = None if image is None else image.shape[:2]
    return size, np.flatnonzero(counts).tolist(), problems


def _checksum(clips: Sequence[Clip]) -> int:
    """Of names, sizes and times of change of the files, and of what their labels may hold."""
    checksum = 0
    for clip in clips:
        checksum = zlib.crc32(clip.labels.to_class.tobytes(), checksum)
        checksum = zlib.crc32(clip.labels.allowed.tobytes(), checksum)
        rest = (sorted(clip.labels.colours.items()), clip.labels.num_classes, clip.labels.sets)
        checksum = zlib.crc32(repr(rest).encode(), checksum)
        for path in (path for frame in clip.frames for path in (frame.image, frame.label)):
            state = path.stat() if path is not None and path.is_file() else None
            described = (path and path.resolve(), state and (state.st_size, state.st_mtime_ns))
            checksum = zlib.crc32(repr(described).encode(), checksum)
    return checksum
