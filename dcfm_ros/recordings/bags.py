"""Images of a rosbag, without ROS: what is there is read, and what is lost is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.compressed import compressed_to_rgb, mask_to_png, png_to_mask
from dcfm_ros.images.depth import image_to_ids
from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.recordings.bag_files import promised_counts
from dcfm_ros.recordings.bag_storage import BagTopics, Message, open_storages
from dcfm_ros.recordings.frame import SourceError, SourceFrame

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


@dataclass(kw_only=True)
class BagLosses:
    """What a bag should hold and does not; complete when all of its frames were read."""

    notes: list[str] = field(default_factory=list)
    """In words: files that end early, files that are gone."""
    num_undecodable: int = 0
    """Messages that are there, but are no image."""
    first_undecodable: str = ''
    """What is wrong with the first of them."""
    num_unread: int = 0
    """Images that the bag's metadata promises and its files do not hold."""

    def told(self) -> list[str]:
        """All of it in words; empty if nothing is lost."""
        lines = list(self.notes)
        if self.num_undecodable:
            first = f'the first: {self.first_undecodable}'
            lines.append(f'{self.num_undecodable} messages cannot be decoded, {first}')
        if self.num_unread:
            lines.append(f'{self.num_unread} images that metadata.yaml promises are not there')
        return lines


class BagReader:
    """Reads the images of one topic in the order of recording, with labels joined by stamp.

    A bag is a rosbag2 folder (with metadata.yaml or, where recording was cut off, without), one of
    its files (.mcap, .db3, compressed or not) or a ROS 1 .bag.
    """

    def __init__(
        self, path: Path, *, topic: str | None = None, label_topic: str | None = None
    ) -> None:
        """Nothing is opened yet.

        Args:
            path: The bag.
            topic: Image topic, raw or compressed; needed only if the bag has more than one.
            label_topic: Mask topic (mono8, or PNG), joined to the images by stamp.
        """
        self.path = path
        self.topic = topic
        """The image topic; once frames are read, the one that they come from."""
        self.label_topic = label_topic
        self.losses = BagLosses()
        """Of the last time that the frames were read."""

    def frames(self) -> Iterator[SourceFrame]:
        """Iterate over the frames, lazily; every call begins anew.

        Raises:
            FileNotFoundError: If there is no such file or folder.
            SourceError: If nothing of it can be read, or the topic is not told.
        """
        self.losses = losses = BagLosses()
        with open_storages(self.path, losses.notes) as storages:
            topics: BagTopics = {}
            for storage in storages:
                topics |= storage.topics
            images = [name for name, kind in topics.items() if kind in IMAGE_TYPES]
            self.topic = _pick(images, self.topic, self.label_topic, self.path)
            labels = self._read_labels(storages, images)
            count = num_labelled = 0
            for storage in storages:
                for message in storage.messages(self.topic):
                    count += 1
                    frame = self._decode(message, labels)
                    if frame is not None:
                        num_labelled += frame.label is not None
                        yield frame
        if self.label_topic is not None and count and not num_labelled:
            losses.notes.append(f'no mask on {self.label_topic} has the stamp of an image')
        losses.num_unread = max(0, promised_counts(self.path).get(self.topic, 0) - count)

    def _read_labels(self, storages: list[Any], images: list[str]) -> dict[int, bytes]:
        """Masks by stamp, as PNG: those of a long bag would not fit into memory otherwise."""
        if self.label_topic is None:
            return {}
        if self.label_topic not in images:
            raise SourceError(f'{self.path} has no mask topic {self.label_topic!r}, only {images}')
        labels = {}
        for storage in storages:
            for message in storage.messages(self.label_topic):
                try:
                    content = message.decode()
                    labels[stamp_of(content)] = mask_to_png(_to_mask(content)).tobytes()
                except Exception as error:
                    self._count_undecodable(message, error)
        return labels

    def _decode(self, message: Message, labels: dict[int, bytes]) -> SourceFrame | None:
        try:
            content = message.decode()
            stamp_ns = stamp_of(content)
            label = labels.get(stamp_ns)
            return SourceFrame(
                image=_to_rgb(content),
                stamp_ns=stamp_ns,
                frame_id=content.header.frame_id,
                label=None if label is None else png_to_mask(label),
            )
        except Exception as error:
            self._count_undecodable(message, error)
            return None

    def _count_undecodable(self, message: Message, error: Exception) -> None:
        self.losses.num_undecodable += 1
        if not self.losses.first_undecodable:
            what = str(error) or type(error).__name__
            where = f'{message.topic} at {message.time_ns / 1e9:.3f} s'
            self.losses.first_undecodable = f'{where}: {what.splitlines()[0]}'


def bag_frames(
    path: Path, *, topic: str | None = None, label_topic: str | None = None
) -> Iterator[SourceFrame]:
    """Images of a bag that must be whole; see `BagReader` for one that need not be.

    Raises:
        SourceError: If anything of it cannot be read.
    """
    reader = BagReader(path, topic=topic, label_topic=label_topic)
    for frame in reader.frames():
        _raise_losses(reader)
        yield frame
    _raise_losses(reader)


def stamp_of(content: Any) -> int:
    """Header stamp of a message, ns."""
    stamp = content.header.stamp
    # ROS 1 says nsec.
    nanosec = stamp.nanosec if hasattr(stamp, 'nanosec') else stamp.nsec
    return int(stamp.sec) * 1_000_000_000 + int(nanosec)


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
                plane = np.ascontiguousarray(plane)
                height, width = plane.shape[:2]
                message = image_type(
                    header=header,
                    height=height,
                    width=width,
                    encoding=encoding,
                    is_bigendian=0,
                    step=plane.strides[0],
                    data=plane.ravel(),
                )
                raw = store.serialize_cdr(message, image_type.__msgtype__)
                writer.write(connections[name], frame.stamp_ns, raw)
            count += 1
    return count


def _raise_losses(reader: BagReader) -> None:
    if told := reader.losses.told():
        raise SourceError(f'{reader.path} cannot be read to its end: {"; ".join(told)}')


def _pick(images: list[str], topic: str | None, label_topic: str | None, path: Path) -> str:
    candidates = sorted(name for name in images if name != label_topic)
    chosen = [name for name in candidates if topic in (None, name)]
    if not chosen:
        raise SourceError(f'{path} has no image topic {topic or ""!r}; image topics: {candidates}')
    if len(chosen) > 1:
        raise SourceError(f'{path} has several image topics, name one: {candidates}')
    return chosen[0]


def _to_rgb(content: Any) -> NDArray[np.uint8]:
    if hasattr(content, 'format'):
        return compressed_to_rgb(content)
    # A copy where it lies in the bytes of the message, which must not be written to.
    return np.require(image_to_rgb(content), np.uint8, ['C', 'W'])


def _to_mask(content: Any) -> NDArray[np.uint8]:
    if not hasattr(content, 'format'):
        return image_to_ids(content, 'the label')
    mask = cv2.imdecode(np.frombuffer(content.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise ValueError(f'{content.format!r} of {len(content.data)} bytes is no image')
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f'a mask must be 8-bit grey, got {mask.dtype} {mask.shape}')
    return np.asarray(mask, np.uint8)
