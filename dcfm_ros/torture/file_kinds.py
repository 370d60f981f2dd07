"""`KINDS`: the files that users bring, how a whole one is made, and how the package reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
import hashlib
import logging
from pathlib import Path
import shutil
from typing import Any
import warnings

import cv2
import numpy as np

from dcfm_ros.backends.graphs import Graphs, GraphsError
from dcfm_ros.backends.prepared_network import load_prepared
from dcfm_ros.files import write_text
from dcfm_ros.masks.groups import read_groups
from dcfm_ros.masks.palette import read_palette
from dcfm_ros.models.checkpoint_header import CheckpointError, find_checkpoint
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.recordings.frame import SourceError, SourceFrame
from dcfm_ros.recordings.sources import open_source, synthetic_frames
from dcfm_ros.recordings.video import VideoWriter
from dcfm_ros.synthetic.drive import DriveConfig
from dcfm_ros.torture import file_bags

Make = Callable[[Path], None]
Read = Callable[[Path], list[str]]
REFUSALS = (SourceError, CheckpointError, GraphsError, ValueError, FileNotFoundError)
"""What a reader may raise, with the path in its message."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file."""

    make: Make
    """Fills a folder that is there."""
    target: str
    """Which file in it is damaged, as `Path.glob` has it."""
    read: Read
    """What the package makes of the folder: a hash of each part, such as a frame."""
    is_sealed: bool = False
    """Whether a checksum covers all that the parts are made of."""


@dataclass
class Reading:
    """What came of reading a file."""

    parts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Warnings: what was lost."""
    error: BaseException | None = None


def read(kind: Kind, folder: Path) -> Reading:
    """Read a folder of a kind; whatever is raised is kept, too."""
    reading = Reading()
    with _noted(reading.notes):
        try:
            reading.parts = kind.read(folder)
        except BaseException as error:
            reading.error = error
    return reading


@contextmanager
def _noted(notes: list[str]) -> Iterator[None]:
    """Append what the package warns of, in its log or as a Python warning."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            notes.append(record.getMessage())

    handler, logger = Keep(logging.WARNING), logging.getLogger('dcfm_ros')
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            yield
        notes += [str(warning.message) for warning in caught]
    finally:
        logger.removeHandler(handler)


@cache
def _frames() -> Sequence[SourceFrame]:
    return list(synthetic_frames(DriveConfig(height=32, width=48, num_frames=8, seed=1)))


def _digest(*values: object) -> str:
    found = hashlib.sha256()
    for value in values:
        found.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return found.hexdigest()[:16]


def _read_source(folder: Path, source: str, **options: Any) -> list[str]:
    (path,) = folder.glob(source)
    return [
        _digest(f.stamp_ns, f.frame_id, f.image.shape, f.image, f.label)
        for f in open_source(str(path), **options)
    ]


def _bag(make: Callable[[Path, Sequence[SourceFrame]], None], name: str = 'bag') -> Make:
    return lambda folder: make(folder / name, _frames())


def _bag_kind(
    make: Callable[[Path, Sequence[SourceFrame]], None],
    target: str,
    *,
    is_sealed: bool = False,
    source: str = 'bag',
    name: str = 'bag',
) -> Kind:
    topics: dict[str, Any] = {'topic': file_bags.TOPIC, 'label_topic': file_bags.LABEL_TOPIC}
    reader = partial(_read_source, source=source, **topics)
    return Kind(make=_bag(make, name), target=target, read=reader, is_sealed=is_sealed)


def _bags() -> dict[str, Kind]:
    kinds = {}
    for name, make in file_bags.FOLDERS.items():
        kinds[name] = _bag_kind(make, 'bag/bag.*')
    kinds['db3 alone'] = _bag_kind(file_bags.rosbag2, 'bag/*.db3', source='bag/*.db3')
    kinds['write-ahead log'] = _bag_kind(file_bags.write_ahead, 'bag/*-wal')
    kinds['metadata.yaml'] = _bag_kind(file_bags.rosbag2, 'bag/metadata.yaml')
    kinds['split bag'] = _bag_kind(file_bags.split, 'bag/a_1.mcap', is_sealed=True)
    kinds['ROS 1 bag'] = _bag_kind(file_bags.rosbag1, 'a.bag', source='a.bag', name='a.bag')
    for name, options in file_bags.MCAP_OPTIONS.items():
        make = partial(file_bags.mcap, **options)
        kinds[name] = _bag_kind(make, 'a.mcap', is_sealed=True, source='a.mcap', name='a.mcap')
    return kinds


def _write_video(folder: Path) -> None:
    with VideoWriter(folder / 'a.mp4', 15.0) as writer:
        for frame in synthetic_frames(DriveConfig(height=48, width=64, num_frames=20, seed=1)):
            writer.write(frame.image)


def _write_images(folder: Path, suffix: str) -> None:
    for part in ('images', 'labels'):
        (folder / part).mkdir()
    for number, frame in enumerate(_frames()[:3]):
        assert frame.label is not None
        cv2.imwrite(str(folder / f'images/{number}{suffix}'), frame.image[..., ::-1])
        cv2.imwrite(str(folder / f'labels/{number}.png'), frame.label)


def _read_images(folder: Path) -> list[str]:
    return _read_source(folder, 'images', labels=folder / 'labels')


_GROUPS = 'walls: [building, fence]\npeople: {classes: [pedestrian, bicyclist], rgb: [9, 8, 7]}\n'
_CLASSES = '0: {name: road, rgb: [128, 64, 128]}\n1: {name: car}\n2: {any_of: [road, car]}\n'
_PALETTE = '{"3": {"name": "road", "rgb": [1, 2, 3]}, "8": {"name": "car", "rgb": [4, 5, 6]}}'


def _read_groups(folder: Path) -> list[str]:
    groups = read_groups(folder / 'a.yaml', CAMVID_NAMES, CAMVID_PALETTE)
    return [_digest(groups.names, groups.palette, groups.table)]


def _read_palette(folder: Path) -> list[str]:
    return [_digest(read_palette(folder / 'a.yaml', CAMVID_NAMES, CAMVID_PALETTE))]


def _read_classes(folder: Path) -> list[str]:
    from dcfm_ros.training.footage.class_files import read_label_set

    labels = read_label_set(folder / 'a.yaml')
    return [_digest(labels.class_names, labels.palette, labels.allowed, labels.colours)]


def _yaml(text: str) -> Make:
    return lambda folder: write_text(folder / 'a.yaml', text)


def _copy_weights(folder: Path, *suffixes: str) -> None:
    for suffix in ('.safetensors', '.graphs', *suffixes):
        shutil.copy(find_checkpoint().with_suffix(suffix), folder)


def _read_network(folder: Path) -> list[str]:
    net = load_prepared(folder / 'default.safetensors')
    weights = [_digest(name, array.dtype, array) for name, array in sorted(net.weights.items())]
    return [_digest(net.config), *weights, _graphs_digest(net.graphs), _graphs_digest(net.int8)]


def _graphs_digest(graphs: Graphs | None) -> str:
    return _digest(vars(graphs)) if graphs else ''


def _others() -> Mapping[str, Kind]:
    return {
        'MP4 video': Kind(
            make=_write_video, target='a.mp4', read=partial(_read_source, source='a.mp4')
        ),
        'PNG image': Kind(
            make=partial(_write_images, suffix='.png'),
            target='images/1.png',
            read=_read_images,
            is_sealed=True,
        ),
        'JPEG image': Kind(
            make=partial(_write_images, suffix='.jpg'), target='images/1.jpg', read=_read_images
        ),
        'label PNG': Kind(
            make=partial(_write_images, suffix='.png'),
            target='labels/1.png',
            read=_read_images,
            is_sealed=True,
        ),
        'groups YAML': Kind(make=_yaml(_GROUPS), target='a.yaml', read=_read_groups),
        'classes YAML': Kind(make=_yaml(_CLASSES), target='a.yaml', read=_read_classes),
        'palette JSON': Kind(make=_yaml(_PALETTE), target='a.yaml', read=_read_palette),
        'checkpoint': _network_kind('.safetensors'),
        'graphs': _network_kind('.graphs'),
        'int8 graphs': _network_kind('.int8.graphs', '.int8.graphs'),
    }


def _network_kind(target: str, *more: str) -> Kind:
    def make(folder: Path) -> None:
        _copy_weights(folder, *more)

    return Kind(make=make, target=f'default{target}', read=_read_network, is_sealed=True)


KINDS: Mapping[str, Kind] = {**_bags(), **_others()}
"""By their names."""
