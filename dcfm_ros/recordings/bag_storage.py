"""The files that a rosbag consists of: read through their index, or by a scan if it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
import shutil
import tempfile
from typing import Any, Protocol

from backports import zstd
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.typesys import Stores, get_typestore

from dcfm_ros.recordings.bag_files import STORAGE_SUFFIXES, storage_files
from dcfm_ros.recordings.damaged_files import DamagedStorage, ScannedDatabase, ScannedMcap
from dcfm_ros.recordings.frame import SourceError

BagTopics = dict[str, str]
"""Message types by topic."""
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_SCANS: dict[str, type[DamagedStorage]] = {'.mcap': ScannedMcap, '.db3': ScannedDatabase}


@dataclass(frozen=True)
class Message:
    """A message as it was recorded."""

    topic: str
    time_ns: int
    """When it was recorded."""
    decode: Callable[[], Any]
    """Gives its content."""


class Storage(Protocol):
    """A file of a bag."""

    @property
    def topics(self) -> BagTopics:
        """What it holds."""
        ...

    def messages(self, topic: str) -> Iterator[Message]:
        """Iterate over the messages of a topic."""
        ...


@contextmanager
def open_storages(path: Path, notes: list[str]) -> Iterator[list[Storage]]:
    """Open the files of a bag, in the order of recording.

    Args:
        path: The bag.
        notes: Gets a line for everything that turns out not to be there, now and while reading.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        SourceError: If nothing of it can be read.
    """
    if not path.exists():
        raise FileNotFoundError(f'no such file or folder: {path}')
    files = storage_files(path)
    storages: list[Storage] = []
    with ExitStack() as stack:
        for file in files:
            if not file.exists():
                notes.append(f'{file.name} is gone')
                continue
            try:
                storages.append(_open(file, stack, notes))
            except (SourceError, OSError) as error:
                notes.append(f'{file.name} cannot be read: {error}')
        if not storages:
            raise SourceError(f'{path} cannot be read as a bag: {"; ".join(notes) or "no files"}')
        yield storages


def _open(file: Path, stack: ExitStack, notes: list[str]) -> Storage:
    if file.suffix == '.bag':
        try:
            reader = stack.enter_context(Reader1(file))
        except Exception as error:  # of whatever kind: the reader trusts what it reads
            raise SourceError(str(error) or type(error).__name__) from error
        return _Indexed(reader, file.name, notes, is_ros1=True)
    if file.suffix == '.zstd':
        file = _decompressed(file, stack, notes)
    if file.suffix not in _SCANS:
        raise SourceError(f'{file.name} is none of {", ".join(STORAGE_SUFFIXES)}, .bag')
    try:
        return _Indexed(stack.enter_context(Reader2(file)), file.name, notes)
    except Exception as error:
        try:
            scanned = _SCANS[file.suffix](file)
        except ValueError as nothing:
            raise SourceError(str(nothing)) from error
        stack.callback(scanned.close)
        if not scanned.topics:
            raise SourceError(str(error)) from error
        reason = scanned.damage or f'its index cannot be read ({error})'
        notes.append(f'{file.name} ends early: {reason}')
        return _Scanned(scanned)


def _decompressed(file: Path, stack: ExitStack, notes: list[str]) -> Path:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    whole = Path(folder, file.stem)
    with file.open('rb') as packed, zstd.open(packed, 'rb') as source, whole.open('wb') as target:
        try:
            shutil.copyfileobj(source, target)
        except (EOFError, zstd.ZstdError) as error:
            notes.append(f'{file.name} ends early: {error}')
    return whole


class _Indexed:
    """A file that is whole, or whose index at least says so."""

    def __init__(self, reader: Any, name: str, notes: list[str], *, is_ros1: bool = False) -> None:
        self.topics: BagTopics = {c.topic: c.msgtype for c in reader.connections}
        self._reader = reader
        self._name = name
        self._notes = notes
        self._is_ros1 = is_ros1

    def messages(self, topic: str) -> Iterator[Message]:
        chosen = [c for c in self._reader.connections if c.topic == topic]
        # Asked for no connection, the reader would give the messages of all.
        messages = self._reader.messages(chosen) if chosen else iter(())
        promised, count, reason = sum(c.msgcount for c in chosen), 0, ''
        while True:
            try:
                connection, time_ns, raw = next(messages)
            except StopIteration:
                break
            except Exception as error:
                reason = f' ({str(error) or type(error).__name__})'
                break
            count += 1
            yield _message(topic, connection.msgtype, time_ns, raw, is_ros1=self._is_ros1)
        # The reader stops without a word where a chunk is damaged in its midst.
        if reason or count < promised:
            told = f'{count} of {promised} messages on {topic} can be read'
            self._notes.append(f'{self._name} ends early: {told}{reason}')


class _Scanned:
    def __init__(self, storage: DamagedStorage) -> None:
        self.topics: BagTopics = storage.topics
        self._storage = storage

    def messages(self, topic: str) -> Iterator[Message]:
        for time_ns, raw in self._storage.messages(topic):
            yield _message(topic, self.topics[topic], time_ns, raw)


def _message(topic: str, kind: str, time_ns: int, raw: bytes, *, is_ros1: bool = False) -> Message:
    def decode() -> Any:
        if is_ros1:
            return _typestore(Stores.ROS1_NOETIC).deserialize_ros1(raw, kind)
        # Messages compressed one by one: a message of its own begins with 00 01 00 00.
        data = zstd.decompress(raw) if raw[:4] == _ZSTD_MAGIC else raw
        return _typestore(Stores.ROS2_JAZZY).deserialize_cdr(data, kind)

    return Message(topic, time_ns, decode)


@cache
def _typestore(store: Stores) -> Any:
    return get_typestore(store)
