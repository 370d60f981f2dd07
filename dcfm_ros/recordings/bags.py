"""Images of a rosbag, without ROS: whatever can be read, and an account of what cannot."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.compressed import compressed_to_rgb
from dcfm_ros.images.depth import image_to_ids
from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.masks.label_png import read_label_png
from dcfm_ros.recordings.bag_messages import BagLosses, BagTopic, stamp_of
from dcfm_ros.recordings.bag_storage import Storage, open_storages, promised_counts
from dcfm_ros.recordings.frame import SourceError, SourceFrame
from dcfm_ros.recordings.stamped_labels import StampedLabels, StampOrder

Item = TypeVar('Item')

_COMPRESSED = 'sensor_msgs/msg/CompressedImage'
_IMAGE_KINDS = ('sensor_msgs/msg/Image', _COMPRESSED)
_SUPPORTED = f'{" and ".join(_IMAGE_KINDS)} in CDR (ROS 2), and both in a ROS 1 .bag'


class BagReader:
    """Reads the images of one topic in the order of recording, with labels joined by stamp.

    A bag is a rosbag2 folder (with metadata.yaml or, where the recorder was killed, without), one
    of its files (.mcap, .db3, compressed or not) or a ROS 1 .bag.
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
        """The image topic; after the first frame, the one that is read."""
        self.is_compressed = False
        """Whether the images are JPEG or PNG files; known after the first frame."""
        self.label_topic = label_topic
        self.losses = BagLosses()
        """Those of the last pass over the bag."""
        self.position = -1
        """Place of the message that was read last among those of its topic, damaged ones too."""

    def frames(self) -> Iterator[SourceFrame]:
        """Iterate over the frames, lazily; every call starts anew.

        Raises:
            FileNotFoundError: If there is no such file or folder.
            SourceError: If nothing of it can be read, or the image topic is not clear.
        """
        with self._open() as storages:
            labels = self._read_labels(storages)
            order, num_labelled = StampOrder(), 0
            for frame in self._read(storages, self.topic, lambda c: _to_frame(c, labels)):
                order.add(frame.stamp_ns)
                num_labelled += frame.label is not None
                yield frame
        self.losses.remark(order.note(str(self.topic)))
        if self.label_topic is not None:
            ambiguous = labels.note(self.label_topic)
            self.losses.note(ambiguous)
            if not num_labelled and order.count and not ambiguous:
                self.losses.note(f'no mask on {self.label_topic} has the stamp of an image')

    def messages(self, convert: Callable[[Any], Item]) -> Iterator[Item]:
        """Iterate over the messages of the image topic; otherwise like `frames`.

        Args:
            convert: Makes something of a message; one that raises counts as undecodable.
        """
        with self._open() as storages:
            yield from self._read(storages, self.topic, convert)

    @contextmanager
    def _open(self) -> Iterator[list[Storage]]:
        self.losses = BagLosses()
        with open_storages(self.path, self.losses) as storages:
            topics = dict(ChainMap(*(storage.topics for storage in storages)))
            self.topic = _pick(topics, self.topic, self.label_topic, self.path)
            self.is_compressed = topics[self.topic].kind == _COMPRESSED
            yield storages

    def _read_labels(self, storages: list[Storage]) -> StampedLabels:
        labels = StampedLabels()
        if self.label_topic is None:
            return labels

        def add(content: Any) -> None:
            labels.add(stamp_of(content), _to_mask(content))

        for _ in self._read(storages, self.label_topic, add):
            pass
        labels.see_images(self._image_stamps(storages))
        return labels

    def _image_stamps(self, storages: list[Storage]) -> Iterator[int]:
        """Stamps of the images; what cannot be decoded is left to `_read`."""
        assert self.topic is not None
        for storage in storages:
            for _, raw in storage.messages(self.topic):
                with suppress(Exception):
                    yield stamp_of(storage.topics[self.topic].decode(raw))

    def _read(
        self, storages: list[Storage], topic: str | None, convert: Callable[[Any], Item]
    ) -> Iterator[Item]:
        assert topic is not None
        self.position = -1
        for storage in storages:
            for time_ns, raw in storage.messages(topic):
                self.position += 1
                try:
                    item = convert(storage.topics[topic].decode(raw))
                except Exception as error:  # of any kind: the decoder trusts what it reads
                    self.losses.add_undecodable(topic, time_ns, error)
                else:
                    yield item
        count, promised = self.position + 1, promised_counts(self.path).get(topic, 0)
        if count < promised:
            missing = f'{promised - count} of {promised} messages on {topic}'
            self.losses.note(f'{missing} that metadata.yaml promises are missing')


def _pick(
    topics: Mapping[str, BagTopic], topic: str | None, label_topic: str | None, path: Path
) -> str:
    images = sorted(
        name
        for name, (kind, encoding) in topics.items()
        if kind in _IMAGE_KINDS and encoding in ('cdr', 'ros1')
    )
    for role, name in (('image', topic), ('mask', label_topic)):
        if not images or name not in (None, *images):
            found = ', '.join(f'{n} ({k}, {e})' for n, (k, e) in sorted(topics.items()))
            raise SourceError(
                f'{path} has no {role} topic{" " + name if name else ""}; it holds '
                f'{found or "no topics"}; supported are {_SUPPORTED}'
            )
    if topic is not None:
        return topic
    candidates = [name for name in images if name != label_topic]
    if len(candidates) > 1:
        raise SourceError(f'{path} has several image topics, name one: {candidates}')
    if not candidates:
        raise SourceError(f'{path} has no image topic beside the mask topic {label_topic}')
    return candidates[0]


def _to_frame(content: Any, labels: StampedLabels) -> SourceFrame:
    stamp_ns = stamp_of(content)
    return SourceFrame(
        image=_to_rgb(content),
        stamp_ns=stamp_ns,
        frame_id=content.header.frame_id,
        label=labels.of(stamp_ns),
    )


def _to_rgb(content: Any) -> NDArray[np.uint8]:
    if hasattr(content, 'format'):
        return compressed_to_rgb(content)
    # A copy if it lies in the bytes of the message, which are read-only.
    return np.require(image_to_rgb(content), np.uint8, ['C', 'W'])


def _to_mask(content: Any) -> NDArray[np.uint8]:
    if not hasattr(content, 'format'):
        return image_to_ids(content, 'the label')
    mask = read_label_png(bytes(content.data))
    if mask.ndim != 2:
        raise ValueError(f'a mask must hold 8-bit ids, got an image in colour, {mask.shape}')
    return mask
