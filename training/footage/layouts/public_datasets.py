"""Folder layouts of the public datasets and of synthetic drives.

A finder takes (root, split, label set, problems) and returns the clips of that split; what is
wrong with the files is appended to `problems`.
"""

from __future__ import annotations

import json
from pathlib import Path

from dcfm_ros.models.labels import CAMVID_NAMES
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.footage.layouts.frame_files import (
    IMAGE_SUFFIXES,
    cut_runs,
    existing_folder,
    find_files,
    join,
    report_gaps,
    split_folder,
    trailing_number,
)

VSPW_HZ = 15.0
CITYSCAPES_HZ = 17.0
CAMVID_HZ = 30.0
SNIPPET = range(-19, 11)
"""Frames of a Cityscapes snippet, counted from the labelled one."""


def read_names(path: Path) -> list[str]:
    """First word of every line of a list file; blank lines are skipped."""
    lines = path.read_text(encoding='utf-8').splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def find_vspw(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """VSPW_480p: <split>.txt, data/<video>/origin/<number>.jpg, data/<video>/mask/<number>.png."""
    clips = []
    for video in read_names(root / f'{split}.txt'):
        folder = root / 'data' / video
        images = find_files(folder / 'origin', problems, suffixes=IMAGE_SUFFIXES)
        if not images:
            problems.append(f'{folder / "origin"} holds no images')
        report_gaps(images, problems)
        frames = join(images, find_files(folder / 'mask', problems), problems, dense=True)
        clips.append(Clip(video, frames, VSPW_HZ, labels))
    return clips


def find_cityscapes(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """Cityscapes as released, or clips with a label for every frame.

    As released: gtFine/<split>/<city>/*_gtFine_labelTrainIds.png with the frames in
    leftImg8bit_sequence or leftImg8bit. Each labelled frame makes a clip: its snippet of 30 frames
    from leftImg8bit_sequence, what there is of it from leftImg8bit.

    Dense: [<split>/]<clip>/frames/*.jpg and <clip>/network_labels/*.png.
    """
    if not (root / 'gtFine').is_dir():
        return _find_dense_cityscapes(root, split, labels, problems)
    is_sequence = (root / 'leftImg8bit_sequence').is_dir()
    kind = root / ('leftImg8bit_sequence' if is_sequence else 'leftImg8bit')
    clips = []
    cities = existing_folder(root / 'gtFine' / split).iterdir()
    for city in sorted(path for path in cities if path.is_dir()):
        annotated = find_files(city, problems, ending='_gtFine_labelTrainIds')
        if not annotated:
            problems.append(
                f'{city} holds no *_gtFine_labelTrainIds.png; '
                "cityscapesscripts' csCreateTrainIdLabelImgs makes them"
            )
        folder = kind / split / city.name
        images = find_files(folder, problems, ending='_leftImg8bit', suffixes=IMAGE_SUFFIXES)
        for name, label in annotated.items():
            sequence, _, number = name.rpartition('_')
            names = [f'{sequence}_{int(number) + offset:06d}' for offset in SNIPPET]
            if not is_sequence:
                kept = [i for i, other in enumerate(names) if other in images or other == name]
                names = names[kept[0] : kept[-1] + 1]
            present = [other for other in names if other in images]
            problems += [f'{folder / other}_leftImg8bit.png is missing'
                         for other in names if other not in images]  # fmt: skip
            frames = [Frame(images[other], label if other == name else None) for other in present]
            clips.append(Clip(name, tuple(frames), CITYSCAPES_HZ, labels, drive=city.name))
    return clips


def _find_dense_cityscapes(
    root: Path, split: str, labels: LabelSet, problems: list[str]
) -> list[Clip]:
    clips = []
    for folder in sorted(split_folder(root, split).glob('[!.]*/frames')):
        images = find_files(folder, problems, suffixes=IMAGE_SUFFIXES)
        report_gaps(images, problems)
        annotated = find_files(folder.parent / 'network_labels', problems)
        frames = join(images, annotated, problems, dense=True)
        clips.append(Clip(folder.parent.name, frames, CITYSCAPES_HZ, labels))
    return clips


def find_camvid(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """CamVid at 480x360: <split>/<name>.jpg and <split>annot/<name>.png, all labelled.

    Numbers at most 2 apart (15 Hz) are neighbours; most frames are 1 s apart and make a clip of
    one frame.
    """
    images = find_files(existing_folder(root / split), problems, suffixes=IMAGE_SUFFIXES)
    annotated = find_files(existing_folder(root / f'{split}annot'), problems)
    frames = dict(zip(images, join(images, annotated, problems, dense=True), strict=True))
    clips = []
    for run in cut_runs(frames, step=2):
        first, last = (trailing_number(run[index]) or 0 for index in (0, -1))
        rate_hz = CAMVID_HZ * (len(run) - 1) / (last - first) if last > first else CAMVID_HZ
        chosen = tuple(frames[name] for name in run)
        drive = run[0].rpartition('_')[0] or split
        clips.append(Clip(run[0], chosen, rate_hz, labels, drive))
    return clips


def find_idd_lite(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """IDD-lite: <split>/<name>.jpg and <split>annot/<name>.png, stills in seven coarse classes.

    They are one recording in the order of their names, so that what is held out is whole scenes.
    """
    images = find_files(existing_folder(root / split), problems, suffixes=IMAGE_SUFFIXES)
    annotated = find_files(existing_folder(root / f'{split}annot'), problems)
    frames = join(images, annotated, problems, dense=True)
    return [
        Clip(name, (frame,), CAMVID_HZ, labels, drive=split)
        for name, frame in zip(images, frames, strict=True)
    ]


def find_synthetic(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """Drives of `dcfm synth`, one or many: [<split>/][<drive>/]drive.json, frames/, masks/."""
    parent = split_folder(root, split)
    folders = [parent] if (parent / 'drive.json').exists() else sorted(parent.iterdir())
    clips = []
    for folder in folders:
        if not (folder / 'frames').is_dir():
            continue
        try:
            record = json.loads((folder / 'drive.json').read_text(encoding='utf-8'))
            count, rate_hz = record['config']['num_frames'], record['config']['rate_hz']
        except FileNotFoundError:
            problems.append(f'{folder} has no drive.json: its drive was never completed')
            continue
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f'{folder / "drive.json"} cannot be read: {error!r}')
            continue
        if record.get('class_names') != list(CAMVID_NAMES):
            problems.append(f'{folder / "drive.json"} must name the classes of CamVid')
        images = find_files(folder / 'frames', problems)
        expected = {f'{index:06d}' for index in range(count)}
        problems += [f'{folder / "frames" / name}.png is missing'
                     for name in sorted(expected - images.keys())]  # fmt: skip
        frames = join(images, find_files(folder / 'masks', problems), problems, dense=True)
        clips.append(Clip(folder.name, frames, rate_hz, labels))
    return clips
