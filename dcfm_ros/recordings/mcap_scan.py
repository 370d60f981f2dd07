"""MCAP files without a usable index, read from front to back as far as they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, McapRecord, Message, Schema
from mcap.stream_reader import StreamReader, breakup_chunk

from dcfm_ros.recordings.bag_messages import BagLosses, BagTopic


class McapScan:
    """An MCAP file without index, as a recorder that was killed leaves it."""

    def __init__(self, path: Path, losses: BagLosses) -> None:
        """Read through the file for its topics; what cannot be read is noted in `losses`."""
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
