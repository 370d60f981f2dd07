"""MCAP files without a whole index, read from front to back as far as they go."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, McapRecord, Message, Schema
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk

from dcfm_ros.recordings.bag_messages import BagLosses, BagTopic


def has_whole_index(path: Path) -> bool:
    """Whether the index at the end of an MCAP file leads to all of its messages.

    Recorders may leave out the index, what counts the messages, or the names of the topics, and
    may write messages where no index leads.
    """
    with path.open('rb') as file, suppress(Exception):  # of many kinds, where it is damaged
        summary = SeekingReader(file).get_summary()
        if summary is None or summary.statistics is None:
            return False
        counts = summary.statistics.channel_message_counts
        is_named = all(
            channel in summary.channels
            and summary.channels[channel].schema_id in {0, *summary.schemas}
            for channel in counts
        )
        indexed = sum(_num_indexed(chunk) for chunk in summary.chunk_indexes)
        return is_named and indexed == summary.statistics.message_count == sum(counts.values())
    return False


def _num_indexed(chunk: ChunkIndex) -> int:
    """Messages of a chunk that have an entry in its indexes, which lie behind it."""
    starts = len(chunk.message_index_offsets)
    # Each has 15 bytes beside its entries: opcode, length, channel and the length of the list.
    return (chunk.message_index_length - 15 * starts) // 16


class McapScan:
    """An MCAP file without a whole index, as other recorders or a killed one leave it."""

    def __init__(self, path: Path, losses: BagLosses) -> None:
        """Read through the file for its topics; what cannot be read is noted in `losses`."""
        self.topics: dict[str, BagTopic] = {}
        self._path = path
        self._losses = losses
        self._channels: dict[int, str] = {}
        # A channel may be named behind its messages alone: its record lies in front of the first
        # of them and again at the end, and the first may be damaged.
        self._message_channels = array('H')
        """Of every message, in the order of the file."""
        self._message_times = array('Q')
        """When every message was recorded, ns."""
        schemas: dict[int, str] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record.name
            elif isinstance(record, Channel):
                kind = schemas.get(record.schema_id, '')
                known = self._channels.setdefault(record.id, record.topic)
                if known == record.topic:
                    self.topics[known] = BagTopic(kind, record.message_encoding)
                else:
                    both = f'channel {record.id} is {known} and again {record.topic}'
                    losses.note(f'{path.name} is damaged: {both}')
            elif isinstance(record, Message):
                self._message_channels.append(record.channel_id)
                self._message_times.append(record.log_time)
        nameless = sum(channel not in self._channels for channel in self._message_channels)
        if nameless:
            losses.note(f'{path.name} does not say of which topic {nameless} messages are')

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Iterate over time of recording in ns and bytes of the messages of a topic.

        Those that lie in the file before earlier ones are held back until their turn.
        """
        every = zip(self._message_channels, self._message_times, strict=True)
        times = [time_ns for channel, time_ns in every if self._channels.get(channel) == topic]
        order = sorted(range(len(times)), key=times.__getitem__)
        waiting: dict[int, bytes] = {}
        turn = 0
        for place, raw in enumerate(self._in_file_order(topic)):
            waiting[place] = raw
            while turn < len(order) and order[turn] in waiting:
                yield times[order[turn]], waiting.pop(order[turn])
                turn += 1

    def _in_file_order(self, topic: str) -> Iterator[bytes]:
        for record in self._records():
            if isinstance(record, Message) and self._channels.get(record.channel_id) == topic:
                yield record.data

    def _records(self) -> Iterator[McapRecord]:
        size = self._path.stat().st_size
        with self._path.open('rb') as file:
            records = StreamReader(
                file, emit_chunks=True, validate_crcs=True, record_size_limit=size
            ).records
            while True:
                start = file.tell()
                try:
                    record = next(records)
                except StopIteration:
                    return
                except CRCValidationError as error:  # at the end of all data
                    self._losses.note(f'{self._path.name} is damaged somewhere: {error}')
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
