"""Layouts for own footage: folders of images and masks, single stills, bags.

    classes.yaml                    what the numbers in the masks mean, see label_sets
    <split>/<clip>/images/*.png     or .jpg; or <split>/images, one clip
    <split>/<clip>/masks/*.png      for all images or some, matched by name
    <split>/<clip>/clip.yaml        optional: rate_hz, and stamps_ns of every frame

The split 'all' stands for data without splits: <clip>/images beside classes.yaml.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dcfm_ros.recordings.extract import ExtractOptions, extract_bag_once
from dcfm_ros.recordings.sources import SourceError, is_bag
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.footage.layouts.frame_files import (
    IMAGE_SUFFIXES,
    find_files,
    join,
    split_folder,
)

DEFAULT_HZ = 15.0
CACHE_DIR = Path('out/cache')


def find_folder(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """Clips of images and masks, see above."""
    folder = split_folder(root, split)
    if (folder / 'images').is_dir():
        return [_read_clip(folder, labels, problems)]
    paths = sorted(path.parent for path in folder.glob('[!.]*/images'))
    return [_read_clip(path, labels, problems) for path in paths]


def find_stills(root: Path, split: str, labels: LabelSet, problems: list[str]) -> list[Clip]:
    """Labelled images of the same layout, each a clip of its own: they are no neighbours."""
    return [
        replace(clip, name=f'{clip.name}/{clip.frames[index].image.stem}',
                frames=(clip.frames[index],), drive=clip.name)
        for clip in find_folder(root, split, labels, problems)
        for index in clip.labelled
    ]  # fmt: skip


def find_bags(
    root: Path, split: str, labels: LabelSet, problems: list[str], cache_dir: Path = CACHE_DIR
) -> list[Clip]:
    """Bags in <split>/, extracted once into `cache_dir`, and again after they changed.

    bag.yaml beside classes.yaml may name `topic`, `label_topic` and `every` (see
    `extract.ExtractOptions`).
    """
    folder = split_folder(root, split)
    options = _read_bag_options(root / 'bag.yaml', problems)
    # Without metadata, .mcap files side by side are recordings of their own.
    is_one = (folder / 'metadata.yaml').is_file()
    bags = [folder] if is_one else sorted(p for p in folder.glob('[!.]*') if is_bag(p))
    clips = []
    for bag in bags:
        try:
            extracted = extract_bag_once(bag, cache_dir / 'bags', options)
        except SourceError as error:
            problems.append(str(error))
        else:
            clips.append(replace(_read_clip(extracted, labels, problems), name=bag.stem))
    return clips


def _read_clip(folder: Path, labels: LabelSet, problems: list[str]) -> Clip:
    images = find_files(folder / 'images', problems, suffixes=IMAGE_SUFFIXES)
    if not images:
        problems.append(f'{folder / "images"} holds no images')
    masks = find_files(folder / 'masks', problems)
    record = _read_table(folder / 'clip.yaml', problems)
    rate_hz, stamps = record.get('rate_hz', DEFAULT_HZ), record.get('stamps_ns')
    if not isinstance(rate_hz, int | float) or not rate_hz > 0:
        problems.append(f'{folder / "clip.yaml"}: rate_hz must be above 0, got {rate_hz!r}')
        rate_hz = DEFAULT_HZ
    if isinstance(stamps, list) and len(stamps) != len(images):
        problems.append(f'{folder / "images"} must hold {len(stamps)} images, as clip.yaml says, '
                        f'got {len(images)}')  # fmt: skip
    return Clip(folder.name, join(images, masks, problems, dense=False), float(rate_hz), labels)


def _read_bag_options(path: Path, problems: list[str]) -> ExtractOptions:
    try:
        return ExtractOptions(**_read_table(path, problems))
    except (TypeError, ValueError) as error:
        problems.append(f'{path}: {error}')
        return ExtractOptions()


def _read_table(path: Path, problems: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        table = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.append(f'{path} is not YAML: {error}')
        return {}
    if not isinstance(table, dict):
        problems.append(f'{path} must be a table, got {table!r}')
        return {}
    return table
