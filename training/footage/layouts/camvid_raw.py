"""Layout of CamVid's original 960x720 recordings."""

from __future__ import annotations

from pathlib import Path

from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.footage.layouts.frame_files import (
    IMAGE_SUFFIXES,
    cut_runs,
    find_files,
    trailing_number,
)
from dcfm_ros.training.footage.layouts.public_datasets import CAMVID_HZ, read_names

REACH = 15
"""Unlabelled frames taken on either side of a labelled one: half of the usual gap of 1 s."""


def find_camvid_raw(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """CamVid's recordings: <split>.txt, gt/<name>_L.png and <sequence>/<frame>.png at 30 Hz.

    <split>.txt lists the names of the labels. id2id.txt, where there is one, says which frame each
    belongs to (a line 'label-name frame-name'); without it the names are the same. Labels are ids
    of the 11 classes or painted in CamVid's 32 colours (see `label_sets.CAMVID_GROUPS`).

    The labelled frames and the frames around them make the clips, cut where frames are missing:
    a folder with nothing but the labelled frames gives clips of one frame.
    """
    annotated = find_files(root / 'gt', problems, ending='_L')
    frame_of = _read_frame_names(root / 'id2id.txt', problems)
    sequences: dict[str, dict[str, Path]] = {}
    for entry in read_names(root / f'{split}.txt'):
        name = Path(entry).stem.removesuffix('_L')
        frame = frame_of.get(name, name)
        if name not in annotated:
            problems.append(f'{root / "gt" / name}_L.png is missing')
        else:
            sequences.setdefault(frame.rpartition('_')[0], {})[frame] = annotated[name]
    clips = []
    for sequence, frames in sequences.items():
        images = find_files(root / sequence, problems, suffixes=IMAGE_SUFFIXES)
        problems += [f'{label} has no image {root / sequence / name}.png'
                     for name, label in frames.items() if name not in images]  # fmt: skip
        numbers = {trailing_number(name) or 0 for name in frames}
        near = {number + offset for number in numbers for offset in range(-REACH, REACH + 1)}
        for run in cut_runs((n for n in images if trailing_number(n) in near), step=1):
            chosen = tuple(Frame(images[name], frames.get(name)) for name in run)
            if any(frame.label for frame in chosen):
                clips.append(Clip(run[0], chosen, CAMVID_HZ, labels, drive=sequence or split))
    return clips


def _read_frame_names(path: Path, problems: list[str]) -> dict[str, str]:
    """Frame name by label name."""
    names: dict[str, str] = {}
    lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    for number, words in enumerate(map(str.split, lines), start=1):
        if len(words) == 2:
            label, frame = (Path(word).stem for word in words)
            names[label.removesuffix('_L')] = frame
        elif words:
            problems.append(f"{path}, line {number} must be 'label-name frame-name'")
    return names
