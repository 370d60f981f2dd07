"""Finds the clips of a dataset, decodes their frames, and checks both before a long job starts.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from tqdm import tqdm

from dcfm_ros.training.footage.clips import Clip, Frame, hold_out, raise_problems
from dcfm_ros.training.footage.label_sets import (
    CAMVID,
    CITYSCAPES,
    VSPW,
    LabelSet,
    load_label_set,
    mapped,
    read_label_set,
)
from dcfm_ros.training.footage.layouts.camvid_raw import find_camvid_raw
from dcfm_ros.training.footage.layouts.own_footage import (
    CACHE_DIR,
    find_bags,
    find_folder,
    find_stills,
)
from dcfm_ros.training.footage.layouts.public_datasets import (
    find_camvid,
    find_cityscapes,
    find_synthetic,
    find_vspw,
)

__all__ = ['Clip', 'Frame', 'check_clips', 'find_clips', 'hold_out', 'read_frame']

Image = NDArray[np.uint8]
Finder = Callable[[Path, str, LabelSet, list[str]], list[Clip]]

DATASETS: dict[str, tuple[Finder, LabelSet | None]] = {
    'vspw': (find_vspw, VSPW),
    'cityscapes': (find_cityscapes, CITYSCAPES),
    'camvid': (find_camvid, CAMVID),
    'camvid_raw': (find_camvid_raw, CAMVID),
    'synthetic': (find_synthetic, CAMVID),
    'folder': (find_folder, None),
    'stills': (find_stills, None),
    'bag': (find_bags, None),
}
"""Finder and label set of every dataset; None: what the classes.yaml in its folder says."""


def find_clips(
    dataset: str,
    root: Path,
    split: str,
    labels: LabelSet | None = None,
    cache_dir: Path = CACHE_DIR,
    *,
    classes: str | None = None,
) -> list[Clip]:
    """List the clips of a dataset; only bags are decoded.

    Args:
        dataset: Layout of the folder, one of `DATASETS`; each finder says what it expects.
        root: Folder of the dataset.
        split: Usually 'train', 'val' or 'test'; 'all' for own or synthetic data without splits.
        labels: What the label files hold; None: what the dataset is known to hold.
        cache_dir: Where bags are extracted to.
        classes: Label set, by name or path, in whose classes labels are read; None: their own.

    Raises:
        FileNotFoundError: If a folder or list file that the layout begins with does not exist.
        ValueError: If there is no such dataset, or files are missing or have no counterpart; all
            of them are listed.
    """
    problems: list[str] = []
    clips = search_clips(dataset, root, split, problems, labels, cache_dir)
    raise_problems(problems)
    if classes is None:
        return clips
    target = load_label_set(classes)
    return [replace(clip, labels=mapped(clip.labels, target)) for clip in clips]


def search_clips(
    dataset: str,
    root: Path,
    split: str,
    problems: list[str],
    labels: LabelSet | None = None,
    cache_dir: Path = CACHE_DIR,
) -> list[Clip]:
    """`find_clips`, but missing files are added to `problems` instead of raised."""
    if dataset not in DATASETS:
        raise ValueError(f'`dataset` must be one of {", ".join(DATASETS)}, got {dataset!r}')
    finder, usual_labels = DATASETS[dataset]
    root = Path(root)
    labels = labels or usual_labels or read_label_set(root)
    if dataset == 'bag':
        finder = partial(find_bags, cache_dir=Path(cache_dir))
    found: list[str] = []
    clips = finder(root, split, labels, found)
    if not clips and not found:
        found.append(f'{root} holds nothing of split {split!r} in the layout of {dataset!r}')
    problems += found
    return clips


def read_frame(frame: Frame, labels: LabelSet) -> tuple[Image, Image | None]:
    """Decode a frame.

    Args:
        frame: What to decode.
        labels: What its label file holds.

    Returns:
        RGB (H, W, 3), and class ids (H, W) with 255 = ignored, or None if it has no label.

    Raises:
        ValueError: If a file is missing or unreadable, the two differ in size, or the label holds
            a value or a colour that the label set does not have.
    """
    problems: list[str] = []
    image, label = _decode(frame, labels, problems)
    if problems or image is None:
        raise ValueError('; '.join(problems))
    return image, label


def check_clips(clips: Iterable[Clip]) -> None:
    """Decode every frame, so that a long job does not fail in the middle.

    Raises:
        ValueError: If `read_frame` would raise one, or the frames of a clip differ in size;
            everything that is wrong is listed.
    """
    raise_problems(decoding_problems(clips))


def decoding_problems(clips: Iterable[Clip]) -> list[str]:
    """What `check_clips` would list."""
    jobs = [(clip, frame) for clip in clips for frame in clip.frames]
    problems: list[str] = []
    sizes: dict[Clip, tuple[int, ...]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(_check, jobs)
        results = tqdm(found, 'checking frames', len(jobs), disable=None, leave=False)
        for (clip, frame), (size, wrong) in zip(jobs, results, strict=True):
            problems += wrong
            if size is not None and sizes.setdefault(clip, size) != size:
                others = f'other frames of its clip {sizes[clip]} (H, W)'
                problems.append(f'{frame.image} is {size}, {others}')
    return problems


def _check(job: tuple[Clip, Frame]) -> tuple[tuple[int, ...] | None, list[str]]:
    """Size of a frame, if it can be read, and what is wrong with it."""
    clip, frame = job
    problems: list[str] = []
    image, _ = _decode(frame, clip.labels, problems)
    return None if image is None else image.shape[:2], problems


def _decode(
    frame: Frame, labels: LabelSet, problems: list[str]
) -> tuple[Image | None, Image | None]:
    image = _read_image(frame.image, problems)
    label = None if frame.label is None else _read_label(frame.label, labels, problems)
    if image is not None and label is not None and image.shape[:2] != label.shape:
        size = image.shape[:2]
        problems.append(f'{frame.label} is {label.shape}, its image {size} (H, W)')
    return image, label


def _read_image(path: Path, problems: list[str]) -> Image | None:
    if not path.is_file():
        problems.append(f'{path} is missing')
        return None
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        problems.append(f'{path} cannot be read as an image')
        return None
    return np.asarray(image, np.uint8)


def _read_label(path: Path, labels: LabelSet, problems: list[str]) -> Image | None:
    """Class ids of a label file, (H, W)."""
    if not path.is_file():
        problems.append(f'{path} is missing')
        return None
    try:
        # OpenCV would turn the indices of a palette PNG into colours.
        with PillowImage.open(path) as picture:
            mode, pixels = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError, ValueError) as error:
        problems.append(f'{path} cannot be read as a label: {error}')
        return None
    if mode in ('1', 'L', 'P'):
        values = pixels.astype(np.uint8, copy=False)
    elif mode in ('RGB', 'RGBA') and labels.colours:
        values = _values_of_colours(path, pixels[..., :3], labels, problems)
    else:
        kind = '8-bit ids' + (' or the colours of its classes' if labels.colours else '')
        problems.append(f'{path} must hold {kind} of {labels.name}, got an image of mode {mode}')
        return None
    allowed = labels.allowed[values]
    if not allowed.all():
        ids, counts = np.unique(values[~allowed], return_counts=True)
        problems.append(f'{path} has ids that {labels.name} has not: {_counted(ids, counts)}')
    return labels.to_class[values]


def _values_of_colours(path: Path, pixels: Image, labels: LabelSet, problems: list[str]) -> Image:
    """Ids of a painted label, (H, W, 3) -> (H, W); unknown colours are reported and become 255."""
    colours = sorted(labels.colours)
    keys = np.array([_packed(np.array(colour)) for colour in colours])
    ids = np.array([labels.colours[colour] for colour in colours], np.uint8)
    packed = _packed(pixels)
    place = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
    is_known = keys[place] == packed
    if not is_known.all():
        wrong, counts = np.unique(packed[~is_known], return_counts=True)
        names = [f'#{value:06x}' for value in wrong.tolist()]
        found = _counted(names, counts)
        problems.append(f'{path} has colours that {labels.name} has not: {found}')
    return np.where(is_known, ids[place], 255).astype(np.uint8)


def _packed(pixels: NDArray[np.generic]) -> NDArray[np.int32]:
    """RGB (..., 3) as one number 0xRRGGBB, which sorts like the colours."""
    return pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def _counted(items: Iterable[object], counts: Iterable[object], most: int = 8) -> str:
    listed = [f'{item} ({count} pixels)' for item, count in zip(items, counts, strict=True)]
    return ', '.join(listed[:most]) + (', ...' if len(listed) > most else '')
