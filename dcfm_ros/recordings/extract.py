"""Frames of a recording as images and masks: own footage to label and to train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
import zlib

import numpy as np
import yaml

from dcfm_ros.files import new_folder
from dcfm_ros.images.image_file import write_image
from dcfm_ros.recordings.frame import SourceError, SourceFrame

if TYPE_CHECKING:
    from dcfm_ros.recordings.bags import BagReader

DEFAULT_HZ = 15.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """What to take from a recording."""

    topic: str | None = None
    """Image topic of a bag; needed only if it has several."""
    label_topic: str | None = None
    """Mask topic of a bag (mono8 ids), joined to the images by stamp."""
    every: int = 1
    """Take every n-th frame only."""
    jpeg: bool = False
    """Write JPEG (quality 95, a fifth of the size) instead of PNG, which keeps every pixel."""

    def __post_init__(self) -> None:
        if not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f'`every` must be a whole number of at least 1, got {self.every!r}')


def extract_frames(
    frames: Iterable[SourceFrame],
    folder: Path,
    options: ExtractOptions | None = None,
    source: Mapping[str, Any] | None = None,
) -> tuple[int, int]:
    """Write images/%06d.png, masks/%06d.png where there are labels, and clip.yaml.

    Frames are numbered as they are read, so what cannot be read of the recording has no number;
    with `every`, the numbers between are left out. `folder` appears when everything is written.

    Args:
        frames: What to write, in time order.
        folder: New folder.
        options: Of these, `every` and `jpeg`.
        source: Kept in clip.yaml, to know what was extracted.

    Returns:
        (number of images, number of masks).

    Raises:
        FileExistsError: If `folder` is there already and not an empty folder.
        SourceError: If there are no frames.
    """
    options = options or ExtractOptions()
    suffix = '.jpg' if options.jpeg else '.png'
    stamps: list[int] = []
    num_masks = 0
    with new_folder(folder) as part:
        for name in ('images', 'masks'):
            (part / name).mkdir()
        for index, frame in enumerate(frames):
            if index % options.every:
                continue
            stamps.append(frame.stamp_ns)
            write_image(part / 'images' / f'{index:06d}{suffix}', frame.image[..., ::-1])
            if frame.label is not None:
                write_image(part / 'masks' / f'{index:06d}.png', frame.label)
                num_masks += 1
        if not stamps:
            raise SourceError(f'there are no frames to extract to {folder}')
        record = {'rate_hz': _rate_hz(stamps), 'source': dict(source or {}), 'stamps_ns': stamps}
        text = yaml.safe_dump(record, sort_keys=False, default_flow_style=None)
        (part / 'clip.yaml').write_text(text, encoding='utf-8')
    return len(stamps), num_masks


def extract_bag_once(bag: Path, cache_dir: Path, options: ExtractOptions) -> Path:
    """Extract a bag, which must be whole, unless it was done before with the same bag and options.

    Args:
        bag: As in `sources.is_bag`.
        cache_dir: Gets a folder for each state of each bag; any of them may be deleted.
        options: What to take from it.

    Returns:
        Folder with images, masks and clip.yaml.

    Raises:
        SourceError: If the bag cannot be read.
    """
    from dcfm_ros.recordings.bags import BagReader  # rosbags is not needed for anything else

    source = {'bag': str(bag.resolve()), 'files': _list_files(bag), **asdict(options)}
    folder = cache_dir / f'{bag.stem}_{zlib.crc32(json.dumps(source).encode()):08x}'
    if not folder.exists():
        reader = BagReader(bag, topic=options.topic, label_topic=options.label_topic)
        try:
            extract_frames(_whole(reader), folder, options, source)
        except OSError:
            if not folder.exists():  # else another process was faster, with the same result
                raise
    return folder


def _whole(reader: BagReader) -> Iterator[SourceFrame]:
    yield from takewhile(lambda _: reader.losses.is_whole, reader.frames())
    if not reader.losses.is_whole:
        raise SourceError(f'{reader.path} is not whole: {"; ".join(reader.losses.lines())}')
    for remark in reader.losses.remarks:
        _log.warning('%s: %s', reader.path, remark)


def _list_files(bag: Path) -> list[list[Any]]:
    """Name, size and time of change of the files of a bag."""
    files = sorted(path for path in bag.rglob('*') if path.is_file()) if bag.is_dir() else [bag]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _rate_hz(stamps_ns: list[int]) -> float:
    """Frames per second, from the median step between stamps."""
    step_ns = float(np.median(np.diff(stamps_ns))) if len(stamps_ns) > 1 else 0.0
    return round(1e9 / step_ns, 3) if step_ns > 0 else DEFAULT_HZ
