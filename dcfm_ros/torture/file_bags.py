"""Small bags of every make that `BagReader` knows, the same on every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
import shutil
import sqlite3
from typing import Any, NamedTuple

import cv2
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

from dcfm_ros.recordings.frame import SourceFrame

TOPIC, LABEL_TOPIC = '/image', '/label'
_IMAGE, _COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
_STORE, _STORE_1 = get_typestore(Stores.ROS2_JAZZY), get_typestore(Stores.ROS1_NOETIC)


class _Record(NamedTuple):
    """A message of a bag."""

    topic: str
    kind: str
    time_ns: int
    raw: bytes


def records(
    frames: Sequence[SourceFrame], suffix: str = '', store: Any = _STORE
) -> Iterator[_Record]:
    """Messages of frames with labels, in CDR, or as ROS 1 has them.

    Args:
        frames: What to record.
        suffix: Of the files, '.png' or '.jpg', that the images are; '': raw.
        store: Types of the messages.
    """
    types = store.types
    serialise = store.serialize_ros1 if store is _STORE_1 else store.serialize_cdr
    for number, frame in enumerate(frames):
        sec, nanosec = divmod(frame.stamp_ns, 1_000_000_000)
        stamp = types['builtin_interfaces/msg/Time'](sec, nanosec)
        more = {'seq': number} if store is _STORE_1 else {}
        header = types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame.frame_id, **more)
        assert frame.label is not None
        for topic, plane, encoding in (
            (LABEL_TOPIC, frame.label, 'mono8'),
            (TOPIC, frame.image, 'rgb8'),
        ):
            if suffix and topic == TOPIC:
                kind, data = _COMPRESSED, cv2.imencode(suffix, plane[..., ::-1])[1].ravel()
                message = types[kind](header=header, format=suffix[1:], data=data)
            else:
                kind, (height, width) = _IMAGE, plane.shape[:2]
                message = types[kind](
                    header, height, width, encoding, 0, plane.strides[0], plane.ravel()
                )
            yield _Record(topic, kind, frame.stamp_ns, bytes(serialise(message, kind)))


def rosbag2(
    path: Path,
    frames: Sequence[SourceFrame],
    *,
    plugin: StoragePlugin = StoragePlugin.SQLITE3,
    mode: CompressionMode = CompressionMode.NONE,
    suffix: str = '',
) -> None:
    """A folder as rosbag2 records it, with its metadata.yaml; MCAP without checksums."""
    writer = Writer2(path, version=9, storage_plugin=plugin)
    if mode != CompressionMode.NONE:
        writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for topic, kind, time_ns, raw in records(frames, suffix):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=_STORE)
            writer.write(connections[topic], time_ns, raw)


def rosbag1(path: Path, frames: Sequence[SourceFrame]) -> None:
    """A .bag of ROS 1."""
    with Writer1(path) as writer:
        connections: dict[str, Any] = {}
        for topic, kind, time_ns, raw in records(frames, store=_STORE_1):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=_STORE_1)
            writer.write(connections[topic], time_ns, raw)


def mcap(path: Path, frames: Sequence[SourceFrame], **options: Any) -> None:
    """An .mcap file with all checksums that the format has; `options` of `mcap.writer.Writer`."""
    with path.open('wb') as file:
        writer = McapWriter(file, **{'chunk_size': 8000, 'enable_data_crcs': True, **options})
        writer.start(profile='ros2')
        channels: dict[str, int] = {}
        for topic, kind, time_ns, raw in records(frames):
            if topic not in channels:
                schema = writer.register_schema(kind, 'ros2msg', b'')
                channels[topic] = writer.register_channel(topic, 'cdr', schema)
            writer.add_message(channels[topic], time_ns, raw, time_ns)
        writer.finish()  # type: ignore[no-untyped-call]


def split(path: Path, frames: Sequence[SourceFrame]) -> None:
    """A folder of two .mcap files, with the metadata.yaml of a bag of all frames."""
    rosbag2(path, frames, plugin=StoragePlugin.MCAP)
    (whole,) = path.glob('*.mcap')
    whole.unlink()
    half = len(frames) // 2
    mcap(path / 'a_0.mcap', frames[:half])
    mcap(path / 'a_1.mcap', frames[half:])
    metadata = path / 'metadata.yaml'
    text = metadata.read_text(encoding='utf-8')
    metadata.write_text(text.replace(f'- {whole.name}', '- a_0.mcap\n  - a_1.mcap', 1))


def write_ahead(path: Path, frames: Sequence[SourceFrame]) -> None:
    """What a recorder leaves that is killed: a database whose last messages are in its log."""
    path.mkdir()
    whole, left = path.parent / 'whole', path / 'a_0.db3'
    rosbag2(whole, frames[: len(frames) // 2])
    (file,) = whole.glob('*.db3')
    rest = list(records(frames[len(frames) // 2 :]))
    database = sqlite3.connect(file, isolation_level=None)
    try:
        database.execute('PRAGMA journal_mode=WAL')
        database.execute('PRAGMA wal_autocheckpoint=0')
        topics = dict(database.execute('SELECT name, id FROM topics').fetchall())
        for topic, _, time_ns, raw in rest:
            database.execute(
                'INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)',
                (topics[topic], time_ns, raw),
            )
        # Copied while it is open: closing would move the log into the database.
        for suffix in ('', '-wal'):
            shutil.copy(f'{file}{suffix}', f'{left}{suffix}')
    finally:
        database.close()
    shutil.rmtree(whole)


MCAP_OPTIONS: dict[str, dict[str, Any]] = {
    'mcap': {'compression': CompressionType.NONE},
    'mcap of zstd chunks': {'compression': CompressionType.ZSTD},
    'mcap without chunks': {'use_chunking': False},
    'mcap without index': {
        'compression': CompressionType.NONE,
        'index_types': IndexType.NONE,
        'use_statistics': False,
    },
}
FOLDERS: dict[str, Callable[[Path, Sequence[SourceFrame]], None]] = {
    'db3': rosbag2,
    'db3 of compressed messages': partial(rosbag2, mode=CompressionMode.MESSAGE),
    'db3.zstd': partial(rosbag2, mode=CompressionMode.FILE),
    'db3 of PNG images': partial(rosbag2, suffix='.png'),
    'db3 of JPEG images': partial(rosbag2, suffix='.jpg'),
    'mcap without checksums': partial(rosbag2, plugin=StoragePlugin.MCAP),
    'mcap.zstd': partial(rosbag2, plugin=StoragePlugin.MCAP, mode=CompressionMode.FILE),
}
