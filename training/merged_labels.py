"""Stills to train on from hand-made labels of a coarse taxonomy and another network's labels.

How the labels of a pixel are merged, `footage.label_merging` says. Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
import shutil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dcfm_ros.files import new_folder, write_json, write_text
from dcfm_ros.images.image_file import write_image
from dcfm_ros.masks.resize import resize_nearest
from dcfm_ros.training.footage.class_files import class_file_text
from dcfm_ros.training.footage.clips import Clip, Frame, raise_problems
from dcfm_ros.training.footage.decoding import decode_frame, decode_label
from dcfm_ros.training.footage.label_merging import LabelMerger, MergeOptions, classes_by_id
from dcfm_ros.training.footage.label_sets import LabelSet, label_set_of, mapped

RECORD = 'merged_labels.json'

Image = NDArray[np.uint8]


def merge_labels(
    clips: Sequence[Clip],
    folder: Path,
    teacher: LabelSet,
    output: Path,
    split: str = 'train',
    *,
    options: MergeOptions | None = None,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the labelled frames of clips, with merged labels, for the dataset 'stills'.

    Every recording becomes a folder of its own and names are kept, so that a `hold_out_share` of
    the stills is that of the clips. `output` appears when everything is written.

    Args:
        clips: Of one dataset, with hand-made labels.
        folder: The teacher's labels/<name>.png and confidence/<name>.png (256 times the
            probability), named and sized like the images.
        teacher: What these labels hold.
        output: Folder to create, or an empty one.
        split: Of the new dataset.
        options: Whose label a pixel gets; None: `MergeOptions()`.
        origin: Where the labels come from, kept in the record.

    Returns:
        The record, which is in the folder too.

    Raises:
        FileExistsError: If `output` is there and not empty.
        FileNotFoundError: If the teacher has no folder of labels, or of confidences if needed.
        ValueError: If files are missing or do not fit; all of them are listed.
    """
    options = options or MergeOptions()
    labels = clips[0].labels
    known = mapped(teacher, labels)
    needed = ('labels', 'confidence') if options.needs_confidence else ('labels',)
    for kind in needed:
        if not (folder / kind).is_dir():
            hint = '; without it `min_confidence` must be 0' if kind == 'confidence' else ''
            raise FileNotFoundError(f'{folder / kind} is not a folder{hint}')
    jobs = [
        (clip.drive or clip.name, clip.frames[index]) for clip in clips for index in clip.labelled
    ]
    problems = _doubles(jobs)
    merger = LabelMerger(labels, known, options)
    with new_folder(output) as part:
        write_text(part / 'classes.yaml', class_file_text(_identity(labels)))
        for recording, frame in tqdm(jobs, 'merging labels', disable=None, leave=False):
            found: list[str] = []
            image, hand_made = decode_frame(frame, labels, found)
            paths = [folder / kind / f'{frame.image.stem}.png' for kind in needed]
            maps = [decode_label(paths[0], known, found)]
            maps += [_read_confidence(path, found) for path in paths[1:]]
            found += [
                f'{path} is {pixels.shape}, its image {image.shape[:2]} (H, W)'
                for path, pixels in zip(paths, maps, strict=True)
                if image is not None and pixels is not None and pixels.shape != image.shape[:2]
            ]
            problems += found
            if not found:
                assert image is not None and hand_made is not None and maps[0] is not None
                merged = merger.merge(hand_made, maps[0], maps[1] if len(maps) > 1 else None)
                home = part / recording if split == 'all' else part / split / recording
                _write_still(home, frame, image, merged, options.height)
        raise_problems(problems)
        record = {
            **(origin or {}), **asdict(options), 'images': len(jobs), **merger.shares(),
        }  # fmt: skip
        write_json(part / RECORD, record)
    return record


def _identity(labels: LabelSet) -> LabelSet:
    """The same classes and sets, in files that hold their ids."""
    values: dict[int, int | tuple[int, ...]] = {**classes_by_id(labels)}
    return label_set_of(labels.name, labels.class_names, labels.palette, values)


def _doubles(jobs: Sequence[tuple[str, Frame]]) -> list[str]:
    """Images of one name, which the teacher's folder cannot tell apart."""
    first: dict[str, Path] = {}
    for _, frame in jobs:
        first.setdefault(frame.image.stem, frame.image)
    return [
        f'{frame.image} and {first[frame.image.stem]} have the same name'
        for _, frame in jobs
        if first[frame.image.stem] != frame.image
    ]


def _read_confidence(path: Path, problems: list[str]) -> Image | None:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2:
        wrong = 'is not an 8-bit grey image' if path.is_file() else 'is missing'
        problems.append(f'{path} {wrong}')
        return None
    return np.asarray(pixels, np.uint8)


def _write_still(home: Path, frame: Frame, image: Image, label: Image, height: int) -> None:
    """Write images/ and masks/; an image keeps its file, unless its height changes."""
    for kind in ('images', 'masks'):
        (home / kind).mkdir(parents=True, exist_ok=True)
    rows, columns = label.shape
    size = (height, max(1, round(columns * height / rows))) if height else label.shape
    if size == label.shape:
        shutil.copyfile(frame.image, home / 'images' / frame.image.name)
    else:
        filter_ = cv2.INTER_CUBIC if size[0] > rows else cv2.INTER_AREA
        resized = cv2.resize(image[..., ::-1], size[::-1], interpolation=filter_)
        write_image(home / 'images' / f'{frame.image.stem}.jpg', resized)
    write_image(home / 'masks' / f'{frame.image.stem}.png', resize_nearest(label, size))
