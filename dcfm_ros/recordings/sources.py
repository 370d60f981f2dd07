"""Frames from a video, an image folder, a rosbag or a camera, without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import logging
from pathlib import Path
import time
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.files import list_files
from dcfm_ros.images.compressed import check_whole, is_checkable
from dcfm_ros.masks.label_png import read_label_png
from dcfm_ros.recordings.frame import SourceError, SourceFrame
from dcfm_ros.synthetic.drive import DriveConfig, render_drive

__all__ = ['SourceError', 'SourceFrame', 'open_source', 'synthetic_frames']

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
STORAGE_SUFFIXES = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')

SourceKind = Literal['camera', 'bag', 'folder', 'video']

_log = logging.getLogger(__name__)


def open_source(
    source: str,
    *,
    topic: str | None = None,
    label_topic: str | None = None,
    labels: Path | None = None,
    rate_hz: float = 15.0,
) -> Iterator[SourceFrame]:
    """Iterate over the frames of an input, lazily and in order.

    What cannot be read of a damaged bag or video is logged as a warning after the last frame.

    Args:
        source: Video file, image folder, bag (see `is_bag`), or camera number.
        topic: Image topic of a bag; needed only if it has more than one.
        label_topic: Mask topic of a bag (mono8), joined to the images by stamp.
        labels: Folder of PNG masks with the names of the images in an image folder.
        rate_hz: Rate that an image folder was recorded at.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        SourceError: If it cannot be read as any of these.
        ValueError: If it is of another kind than the one that `label_topic` or `labels` is for.
    """
    kind = source_kind(source)
    check_labels(source, kind, label_topic=label_topic, labels=labels)
    match kind:
        case 'camera':
            return camera_frames(int(source))
        case 'bag':
            return _bag_frames(Path(source), topic, label_topic)
        case 'folder':
            return folder_frames(Path(source), labels=labels, rate_hz=rate_hz)
        case _:
            return video_frames(Path(source))


def check_labels(
    source: str, kind: SourceKind, *, label_topic: str | None, labels: Path | None
) -> None:
    """Refuse labels where a source of that kind has none, instead of passing them over.

    Raises:
        ValueError: If a topic is given for anything but a bag, or a folder of masks for anything
            but an image folder.
    """
    named = 'an image folder' if kind == 'folder' else f'a {kind}'
    if label_topic is not None and kind != 'bag':
        where = '; masks of an image folder are `labels`' if kind == 'folder' else ''
        raise ValueError(f'`label_topic` ({label_topic}) needs a bag, {source} is {named}{where}')
    if labels is not None and kind != 'folder':
        where = '; masks of a bag are a `label_topic`' if kind == 'bag' else ''
        raise ValueError(f'`labels` ({labels}) needs an image folder, {source} is {named}{where}')


def source_kind(source: str) -> SourceKind:
    """What a source is: a number is a camera, anything else a path.

    Raises:
        FileNotFoundError: If there is no such file or folder.
    """
    if source.isdecimal():
        return 'camera'
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f'no such file or folder: {path}')
    if is_bag(path):
        return 'bag'
    return 'folder' if path.is_dir() else 'video'


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag2 folder, one of its files (also .zstd), or a ROS 1 .bag."""
    if path.is_dir():
        has_metadata = (path / 'metadata.yaml').is_file()
        return has_metadata or bool(list_files(path, STORAGE_SUFFIXES))
    return path.name.endswith(('.bag', *STORAGE_SUFFIXES)) and not path.name.startswith('._')


def synthetic_frames(config: DriveConfig) -> Iterator[SourceFrame]:
    """Frames and exact labels of a synthetic drive."""
    for index, (image, label) in enumerate(render_drive(config)):
        stamp_ns = round((index + 1) * 1e9 / config.rate_hz)
        yield SourceFrame(image=image, stamp_ns=stamp_ns, label=label)


def _bag_frames(path: Path, topic: str | None, label_topic: str | None) -> Iterator[SourceFrame]:
    from dcfm_ros.recordings.bags import BagReader  # rosbags is not needed for anything else

    reader = BagReader(path, topic=topic, label_topic=label_topic)
    yield from reader.frames()
    for loss in reader.losses.lines():
        _log.warning('%s: %s', path, loss)


def video_frames(path: Path) -> Iterator[SourceFrame]:
    """Frames of a video file; stamps follow its frame rate."""
    import av  # needed for nothing else here

    index = promised = 0
    unreadable = f'{path} is not a video that OpenCV can read'
    with _capture(str(path), unreadable) as capture:
        period_ns = 1e9 / (capture.get(cv2.CAP_PROP_FPS) or 30.0)
        for index, image in enumerate(_grab(capture), start=1):
            yield SourceFrame(image=image, stamp_ns=round(index * period_ns))
    if not index:
        raise SourceError(f'{unreadable}: it finds no frame')
    # OpenCV would guess where the file does not say; av knows fewer formats.
    with (
        suppress(av.FFmpegError, IndexError),
        av.open(str(path), metadata_errors='replace') as container,
    ):
        promised = container.streams.video[0].frames
    if index < promised:
        _log.warning('%s: %d of %d frames can be read', path, index, promised)


def camera_frames(number: int) -> Iterator[SourceFrame]:
    """Frames of a local camera, stamped on arrival, until the reader stops."""
    with _capture(number, f'camera {number} cannot be opened') as capture:
        for image in _grab(capture):
            yield SourceFrame(image=image, stamp_ns=time.time_ns())


@contextmanager
def _capture(source: str | int, failure: str) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(source)
    if not capture.isOpened():
        raise SourceError(failure)
    try:
        yield capture
    finally:
        capture.release()


def _grab(capture: cv2.VideoCapture) -> Iterator[NDArray[np.uint8]]:
    while True:
        is_read, image = capture.read()
        if not is_read:
            return
        yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def folder_frames(
    folder: Path, *, labels: Path | None = None, rate_hz: float = 15.0
) -> Iterator[SourceFrame]:
    """Images of a folder in the order of their numbers; unreadable ones are all named at once."""
    if rate_hz <= 0:
        raise ValueError(f'`rate_hz` must be above 0, got {rate_hz}')
    files = list_files(folder, IMAGE_SUFFIXES)
    if not files:
        raise SourceError(f'{folder} has no images ({" ".join(IMAGE_SUFFIXES)})')
    if labels is not None:
        missing = [p.stem for p in files if not (labels / f'{p.stem}.png').exists()]
        if missing:
            raise SourceError(
                f'{labels} has no PNG mask for {len(missing)} images: {missing[:20]}'
            )
    if broken := [p.name for p in files if not cv2.haveImageReader(str(p))]:
        raise SourceError(f'{folder} has {len(broken)} files that are not images: {broken[:20]}')
    for index, path in enumerate(files):
        image = _read_image(path)
        label = None
        if labels is not None:
            label = _read_mask(labels / f'{path.stem}.png', path, image.shape[:2])
        stamp_ns = round((index + 1) * 1e9 / rate_hz)
        yield SourceFrame(image=image, stamp_ns=stamp_ns, label=label)


def _read_image(path: Path) -> NDArray[np.uint8]:
    data, image = path.read_bytes(), None
    try:
        if is_checkable(data):
            check_whole(data)
        # As RGB from OpenCV 4.10 only.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error) as error:
        raise SourceError(f'{path} cannot be decoded: {error}') from error
    if image is None:
        raise SourceError(f'{path} cannot be decoded')
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return np.asarray(image, np.uint8)


def _read_mask(path: Path, image: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        mask = read_label_png(path.read_bytes())
    except ValueError as error:
        raise SourceError(f'{path}: {error}') from error
    if mask.shape != size:
        raise SourceError(f'{path} must be a {size} mask, as {image.name} is, got {mask.shape}')
    return mask
