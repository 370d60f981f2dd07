"""Frames from a video, an image folder, a rosbag or a camera, without ROS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.files import in_numerical_order
from dcfm_ros.synthetic_drive import DriveConfig, render_drive

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')


class SourceError(RuntimeError):
    """An input that cannot be read; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class SourceFrame:
    """One frame of an input."""

    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    stamp_ns: int
    """Acquisition time in nanoseconds."""
    frame_id: str = 'camera_optical_frame'
    """Frame of the camera, from the bag's header where there is one."""
    label: NDArray[np.uint8] | None = None
    """True class of every pixel, (H, W); 255 or any id without a class is ignored."""


def open_source(
    source: str,
    *,
    topic: str | None = None,
    label_topic: str | None = None,
    labels: Path | None = None,
    rate_hz: float = 15.0,
) -> Iterator[SourceFrame]:
    """Iterate over the frames of an input, lazily and in order.

    Args:
        source: Video file, image folder, rosbag2 folder, .mcap or .bag file, or camera number.
        topic: Image topic of a bag; needed only if it has more than one.
        label_topic: Mask topic of a bag (mono8), joined to the images by stamp.
        labels: Folder of PNG masks with the names of the images in an image folder.
        rate_hz: Rate that an image folder was recorded at.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        SourceError: If it cannot be read as any of these.
    """
    if source.isdecimal():
        return camera_frames(int(source))
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f'no such file or folder: {path}')
    if path.suffix in ('.mcap', '.bag', '.db3') or (path / 'metadata.yaml').exists():
        return bag_frames(path, topic=topic, label_topic=label_topic)
    if path.is_dir():
        return folder_frames(path, labels=labels, rate_hz=rate_hz)
    return video_frames(path)


def synthetic_frames(config: DriveConfig) -> Iterator[SourceFrame]:
    """Frames and exact labels of a synthetic drive."""
    for index, (image, label) in enumerate(render_drive(config)):
        stamp_ns = round((index + 1) * 1e9 / config.rate_hz)
        yield SourceFrame(image=image, stamp_ns=stamp_ns, label=label)


def video_frames(path: Path) -> Iterator[SourceFrame]:
    """Frames of a video file; stamps follow its frame rate."""
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f'{path} is not a video that OpenCV can read')
    period_ns = 1e9 / (capture.get(cv2.CAP_PROP_FPS) or 30.0)
    try:
        for index, image in enumerate(_grab(capture)):
            yield SourceFrame(image=image, stamp_ns=round((index + 1) * period_ns))
    finally:
        capture.release()


def camera_frames(number: int) -> Iterator[SourceFrame]:
    """Frames of a local camera, stamped on arrival, until the reader stops."""
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise SourceError(f'camera {number} cannot be opened')
    try:
        for image in _grab(capture):
            yield SourceFrame(image=image, stamp_ns=time.time_ns())
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
    images = (p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    files = in_numerical_order(images)
    if not files:
        raise SourceError(f'{folder} has no images ({" ".join(IMAGE_SUFFIXES)})')
    if labels is not None:
        missing = [p.stem for p in files if not (labels / f'{p.stem}.png').exists()]
        if missing:
            raise SourceError(
                f'{labels} has no PNG mask for {len(missing)} images: {missing[:20]}'
            )
    if broken := [p.name for p in files if not cv2.haveImageReader(str(p))]:
        raise SourceError(f'{folder} has {len(broken)} files that are no images: {broken[:20]}')
    for index, path in enumerate(files):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise SourceError(f'{path} cannot be decoded')
        label = None
        if labels is not None:
            mask_path = labels / f'{path.stem}.png'
            label = cv2.imread(str(mask_path), cv2.IMREAD_UNCHANGED)
            if label is None or label.ndim != 2 or label.shape != image.shape[:2]:
                found = 'nothing' if label is None else label.shape
                raise SourceError(f'{mask_path} must be a {image.shape[:2]} mask, got {found}')
        stamp_ns = round((index + 1) * 1e9 / rate_hz)
        yield SourceFrame(image=image, stamp_ns=stamp_ns, label=label)


def bag_frames(
    path: Path, *, topic: str | None = None, label_topic: str | None = None
) -> Iterator[SourceFrame]:
    """Images of a rosbag (rosbag2 folder, .mcap, ROS 1 .bag), raw or compressed."""
    from rosbags.highlevel import AnyReader, AnyReaderError
    from rosbags.image import message_to_cvimage
    from rosbags.typesys import Stores, get_typestore

    folder = path.parent if path.suffix == '.db3' else path
    try:
        with AnyReader([folder], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            images = [c for c in reader.connections if c.msgtype.endswith('Image')]
            connection = _pick(images, topic, label_topic, path)
            labels: dict[int, NDArray[np.uint8]] = {}
            masks = [c for c in images if c.topic == label_topic]
            if label_topic is not None and not masks:
                topics = [c.topic for c in images]
                raise SourceError(f'{path} has no mask topic {label_topic!r}, only {topics}')
            # Asked for no connection, the reader would give the messages of all.
            for label_connection, _, raw in reader.messages(masks) if masks else ():
                message: Any = reader.deserialize(raw, label_connection.msgtype)
                labels[_stamp_ns(message)] = message_to_cvimage(message, 'mono8')
            for image_connection, _, raw in reader.messages([connection]):
                message = reader.deserialize(raw, image_connection.msgtype)
                yield SourceFrame(
                    image=np.ascontiguousarray(message_to_cvimage(message, 'rgb8')),
                    stamp_ns=_stamp_ns(message),
                    frame_id=message.header.frame_id,
                    label=labels.get(_stamp_ns(message)),
                )
    except AnyReaderError as error:
        raise SourceError(f'{path} cannot be read as a bag: {error}') from error


def _pick(connections: list[Any], topic: str | None, label_topic: str | None, path: Path) -> Any:
    candidates = [c for c in connections if c.topic != label_topic]
    chosen = [c for c in candidates if topic in (None, c.topic)]
    topics = sorted({c.topic for c in candidates})
    if not chosen:
        raise SourceError(f'{path} has no image topic {topic or ""!r}; image topics: {topics}')
    if len({c.topic for c in chosen}) > 1:
        raise SourceError(f'{path} has several image topics, name one: {topics}')
    return chosen[0]


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def write_bag(
    path: Path,
    frames: Iterable[SourceFrame],
    topic: str = '/camera/image_raw',
    label_topic: str = '/camera/label',
) -> int:
    """Record frames as a rosbag2 folder (rgb8 images, mono8 labels where there are any).

    Args:
        path: Folder to create.
        frames: What to record.
        topic: Image topic.
        label_topic: Mask topic, with the header of the image.

    Returns:
        Number of images written.

    Raises:
        FileExistsError: If `path` exists.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    if path.exists():
        raise FileExistsError(f'{path} exists already')
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    image_type = types['sensor_msgs/msg/Image']
    header_type = types['std_msgs/msg/Header']
    time_type = types['builtin_interfaces/msg/Time']
    count = 0
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for frame in frames:
            sec, nanosec = divmod(frame.stamp_ns, 1_000_000_000)
            stamp = time_type(sec=sec, nanosec=nanosec)
            header = header_type(stamp=stamp, frame_id=frame.frame_id)
            planes = [(topic, frame.image, 'rgb8'), (label_topic, frame.label, 'mono8')]
            for name, plane, encoding in planes:
                if plane is None:
                    continue
                if name not in connections:
                    added = writer.add_connection(name, image_type.__msgtype__, typestore=store)
                    connections[name] = added
                height, width = plane.shape[:2]
                message = image_type(
                    header=header,
                    height=height,
                    width=width,
                    encoding=encoding,
                    is_bigendian=0,
                    step=plane.strides[0],
                    data=np.ascontiguousarray(plane).ravel(),
                )
                raw = store.serialize_cdr(message, image_type.__msgtype__)
                writer.write(connections[name], frame.stamp_ns, raw)
            count += 1
    return count
