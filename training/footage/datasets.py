"""Finds the clips of a dataset; nothing but bags is decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from dcfm_ros.training.footage.class_files import load_label_set, read_label_set
from dcfm_ros.training.footage.clips import Clip, raise_problems
from dcfm_ros.training.footage.label_sets import (
    CAMVID,
    CITYSCAPES,
    IDD_LITE,
    VSPW,
    LabelSet,
    mapped,
)
from dcfm_ros.training.footage.layouts.camvid_raw import find_camvid_raw
from dcfm_ros.training.footage.layouts.frame_files import existing_folder
from dcfm_ros.training.footage.layouts.own_footage import (
    CACHE_DIR,
    find_bags,
    find_folder,
    find_stills,
)
from dcfm_ros.training.footage.layouts.public_datasets import (
    find_camvid,
    find_cityscapes,
    find_idd_lite,
    find_synthetic,
    find_vspw,
)

Finder = Callable[[Path, str, LabelSet, list[str]], list[Clip]]

DATASETS: dict[str, tuple[Finder, LabelSet | None]] = {
    'vspw': (find_vspw, VSPW),
    'cityscapes': (find_cityscapes, CITYSCAPES),
    'camvid': (find_camvid, CAMVID),
    'camvid_raw': (find_camvid_raw, CAMVID),
    'idd_lite': (find_idd_lite, IDD_LITE),
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
    root = existing_folder(Path(root))
    labels = labels or usual_labels or read_label_set(root)
    if dataset == 'bag':
        finder = partial(find_bags, cache_dir=Path(cache_dir))
    found: list[str] = []
    clips = finder(root, split, labels, found)
    if not clips and not found:
        found.append(f'{root} holds nothing of split {split!r} in the layout of {dataset!r}')
    problems += found
    return clips
