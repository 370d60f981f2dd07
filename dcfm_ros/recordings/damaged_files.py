"""Files of a bag that have no usable index, read from front to back as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
import shutil
import sqlite3
import tempfile
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from dcfm_ros.recordings.bag_losses import BagLosses
from dcfm_ros.recordings.bag_topic import BagTopic
from dcfm_ros.recordings.frame import SourceError

_MODE = slice(18, 19)
"""Where the header of a database says 2 if it is written through a write-ahead log."""


class McapScan:
    """An MCAP file without index, as a recorder that was killed leaves it."""

    def __init__(self, path: Path, losses: BagLosses) -> None:
        """Read through the file for its topics.

        Args:
            path: The file.
            losses: Gets a note of everything that cannot be read.

        Raises:
            SourceError: If it has no topic.
        """
        self.topics: dict[str, BagTopic] = {}
        self._path = path
        self._losses = losses
        self._channels: dict[int, str] = {}
        schemas: dict[int, str] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel):
                kind = schemas.get(record.schema_id, '')
                self._channels[record.id] = record.topic
                self.topics[record.topic] = BagTopic(kind, record.message_encoding)
        if not self.topics:
            raise SourceError('it has no topic')

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Iterate over time of recording in ns and bytes of the messages of a topic."""
        for record in self._records():
            if isinstance(record, Message) and self._channels.get(record.channel_id) == topic:
                yield record.log_time, record.data

    def _records(self) -> Iterator[McapRecord]:
        size = self._path.stat().st_size
        with self._path.open('rb') as file:
            records = StreamReader(file, emit_chunks=True, record_size_limit=size).records
            while True:
                start = file.tell()
                try:
                    record = next(records)
                except StopIteration:
                    return
                except Exception as error:  # of many kinds: the reader trusts what it reads
                    reason = f'record at byte {start} of {size}: {type(error).__name__}'
                    self._losses.note(f'{self._path.name} ends early: {reason}')
                    yield from _cut_chunk(file, start)
                    return
                if not isinstance(record, Chunk):
                    yield record
                    continue
                try:
                    inner = breakup_chunk(record, validate_crc=True)
                except Exception as error:
                    reason = f'chunk at byte {start} of {size}: {error or type(error).__name__}'
                    self._losses.note(f'{self._path.name} has gaps: {reason}')
                else:
                    yield from inner


def _cut_chunk(file: BinaryIO, start: int) -> Iterator[McapRecord]:
    """Records of a chunk whose end is missing, none if it is compressed."""
    file.seek(start)
    stream = ReadDataStream(file)
    with suppress(Exception):  # at the latest where the file ends
        if stream.read1() == Opcode.CHUNK:
            stream.read(36)  # length of the record; times, size and CRC of its content
            if stream.read_prefixed_string() == '':
                stream.read8()
                yield from StreamReader(file, skip_magic=True).records


class DatabaseScan:
    """An SQLite file that is cut off, or whose last messages are in a write-ahead log.

    Rows are read in the order of the table, because the index is often what is missing.
    """

    def __init__(self, path: Path, stack: ExitStack, losses: BagLosses) -> None:
        """Open the file; neither it nor its log is changed.

        Args:
            path: The file.
            stack: Closes it.
            losses: Gets a note of everything that cannot be read.

        Raises:
            SourceError: If not even its topics can be read.
        """
        self._name = path.name
        self._losses = losses
        self._database = stack.enter_context(closing(_connect(path, stack)))
        query = 'SELECT id, name, type, serialization_format FROM topics'
        try:
            rows = self._database.execute(query).fetchall()
        except sqlite3.Error as error:
            raise SourceError(f'{error}; {_remedy(path.name)}') from error
        self.topics = {name: BagTopic(kind, encoding) for _, name, kind, encoding in rows}
        self._ids = [(number, name) for number, name, _, _ in rows]

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Iterate over time of recording in ns and bytes of the messages of a topic."""
        ids = [number for number, name in self._ids if name == topic]
        query = (
            'SELECT timestamp, data FROM messages NOT INDEXED '
            f'WHERE topic_id IN ({", ".join("?" * len(ids))}) ORDER BY id'
        )
        try:
            yield from self._database.execute(query, ids)
        except sqlite3.Error as error:
            self._losses.note(f'{self._name} ends early: {error}; {_remedy(self._name)}')


def has_log(database: Path) -> bool:
    """Whether messages of a database may still be in a write-ahead log beside it."""
    log = _beside(database, '-wal')
    return log.is_file() and log.stat().st_size > 0


def lacks_log(database: Path) -> bool:
    """Whether a write-ahead log may be missing: it is used, and the recorder wrote no metadata."""
    with database.open('rb') as file:
        uses_log = file.read(_MODE.stop)[_MODE] == b'\2'
    return uses_log and not (has_log(database) or (database.parent / 'metadata.yaml').is_file())


def _connect(path: Path, stack: ExitStack) -> sqlite3.Connection:
    options = 'immutable=1'  # reads no log, and makes no file
    if has_log(path):
        options = 'mode=ro&readonly_shm=1'
        if not _beside(path, '-shm').exists():
            # SQLite would make this file beside the recording, so let it do so elsewhere.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            shutil.copy(_beside(path, '-wal'), folder)
            path = Path(shutil.copy(path, folder))
            options = 'mode=ro'
    uri = f'{path.absolute().as_uri()}?{options}'
    database = sqlite3.connect(uri, uri=True, check_same_thread=False)
    # Without it SQLite refuses a file that is shorter than its header says.
    database.execute('PRAGMA writable_schema=ON')
    return database


def _beside(database: Path, suffix: str) -> Path:
    return database.with_name(database.name + suffix)


def _remedy(name: str) -> str:
    return f'`sqlite3 {name} .recover | sqlite3 new.db3` may find more'
