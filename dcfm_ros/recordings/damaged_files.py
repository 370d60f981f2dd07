"""Recordings whose index is gone, read record by record as far as they go.

A recorder that is killed leaves an MCAP file without summary and footer, and a database that is
cut off has a tree that leads to pages which are not there. What was written before is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
import mmap
from pathlib import Path
import struct
from typing import Protocol

from backports import zstd
from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

_MAGIC = b'\x89MCAP0\r\n'
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x03, 0x04, 0x05, 0x06
_DATABASE_HEAD = 100
_LEAF_TABLE = 0x0D


class DamagedStorage(Protocol):
    """A file of a bag that has no index."""

    topics: dict[str, str]
    """Message types by topic."""
    damage: str
    """Where it ends and why; '' if it is whole but for its index."""

    def __init__(self, path: Path) -> None: ...

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """Iterate over time of recording in ns and bytes of the messages of a topic."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class ScannedMcap:
    """An MCAP file (mcap.dev/spec) without its summary."""

    def __init__(self, path: Path) -> None:
        """Look through the whole file for topics."""
        self.topics: dict[str, str] = {}
        self.damage = ''
        self._file = path.open('rb')
        self._size = path.stat().st_size
        self._channels: dict[int, str] = {}
        schemas: dict[int, str] = {}
        for kind, content in self._records():
            if kind == _SCHEMA:
                schemas[int.from_bytes(content[:2], 'little')] = _text(content, 2)[0]
            elif kind == _CHANNEL and len(content) >= 4:
                channel, schema = struct.unpack_from('<HH', content)
                topic, _ = _text(content, 4)
                self._channels[channel] = topic
                self.topics[topic] = schemas.get(schema, '')

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """See `DamagedStorage`."""
        for kind, content in self._records():
            if kind == _MESSAGE and len(content) >= 22:
                channel, _, time_ns = struct.unpack_from('<HIQ', content)
                if self._channels.get(channel) == topic:
                    yield time_ns, content[22:]

    def close(self) -> None:
        """See `DamagedStorage`."""
        self._file.close()

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Records of the file, those in its chunks too; `damage` tells where they end."""
        self._file.seek(0)
        if self._file.read(len(_MAGIC)) != _MAGIC:
            self.damage = 'it does not begin as an MCAP file'
            return
        while head := self._file.read(9):
            position = self._file.tell() - len(head)
            length = int.from_bytes(head[1:], 'little')
            if len(head) < 9 or position + 9 + length > self._size:
                self.damage = f'the record at byte {position} of {self._size} is cut off'
                if head[0] == _CHUNK:
                    yield from _split(self._unpack(position, self._file.read()))
                return
            if head[0] == _CHUNK:
                yield from _split(self._unpack(position, self._file.read(length)))
            elif head[0] in (_SCHEMA, _CHANNEL, _MESSAGE):
                yield head[0], self._file.read(length)
            else:
                self._file.seek(length, 1)
            if self._file.tell() + len(_MAGIC) == self._size:
                return  # the magic once more: the file is whole
        self.damage = self.damage or f'it has no footer behind byte {self._size}'

    def _unpack(self, position: int, chunk: bytes) -> bytes:
        """Records of a chunk, none if it is damaged."""
        try:
            return _unpack(chunk)
        except (zstd.ZstdError, RuntimeError):  # the latter is LZ4's
            self.damage = f'the chunk at byte {position} is damaged'
            return b''


class ScannedDatabase:
    """An SQLite file (sqlite.org/fileformat) whose tables are cut off.

    Rows lie in leaf pages that look the same wherever they are; the pages above them, which a
    query would need, are often those that are missing.
    """

    def __init__(self, path: Path) -> None:
        """Look through all pages for rows; messages themselves are read later.

        Raises:
            ValueError: If there is not even a head.
        """
        self.topics: dict[str, str] = {}
        self.damage = ''
        if path.stat().st_size < _DATABASE_HEAD:
            raise ValueError(f'{path.name} is cut off in its first {_DATABASE_HEAD} bytes')
        with path.open('rb') as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._page_size = int.from_bytes(self._data[16:18], 'big') or 4096
        if self._page_size == 1:
            self._page_size = 65536
        self._usable = self._page_size - self._data[20]
        names: dict[int, str] = {}
        self._rows: list[tuple[int, int, int, int]] = []  # time, row, topic, position of its cell
        for row, position in self._cells():
            match self._row(position, is_head=True):
                case [_, str(name), str(kind), _, *_] if name.startswith('/') and '/msg/' in kind:
                    names[row] = name
                    self.topics[name] = kind
                case [_, int(topic), int(time_ns), bytes()]:
                    self._rows.append((time_ns, row, topic, position))
        self._rows.sort()
        self._names = names
        pages = int.from_bytes(self._data[28:32], 'big')
        if pages * self._page_size > len(self._data):
            self.damage = f'{len(self._data)} of {pages * self._page_size} bytes are there'

    def messages(self, topic: str) -> Iterator[tuple[int, bytes]]:
        """See `DamagedStorage`; the last message may be cut off in its midst."""
        for time_ns, _, number, position in self._rows:
            if self._names.get(number) == topic:
                content = self._row(position)[3]
                assert isinstance(content, bytes)
                yield time_ns, content

    def close(self) -> None:
        """See `DamagedStorage`."""
        self._data.close()

    def _cells(self) -> Iterator[tuple[int, int]]:
        """Row numbers, and where the cells of the rows lie."""
        for start in range(0, len(self._data) - self._page_size + 1, self._page_size):
            head = start + (_DATABASE_HEAD if start == 0 else 0)
            if self._data[head] != _LEAF_TABLE:
                continue
            (count,) = struct.unpack_from('>H', self._data, head + 3)
            most = (start + self._page_size - head - 8) // 2  # more, and the page is damaged
            for offset in struct.unpack_from(f'>{min(count, most)}H', self._data, head + 8):
                _, position = self._varint(start + offset)
                row, _ = self._varint(position)
                yield row, start + offset

    def _row(self, position: int, *, is_head: bool = False) -> list[int | str | bytes | None]:
        """Columns of a row; with `is_head`, the last one may be shorter than it is."""
        size, position = self._varint(position)
        _, position = self._varint(position)
        payload = self._payload(min(size, len(self._data)), position, is_head=is_head)
        head_size, at = _varint(payload, 0)
        kinds = []
        while at < min(head_size, len(payload)):
            kind, at = _varint(payload, at)
            kinds.append(kind)
        values: list[int | str | bytes | None] = []
        for kind in kinds:
            length = _column_size(kind)
            content = payload[at : at + length]
            at += length
            if kind == 0:
                values.append(None)
            elif kind < 12:
                values.append(kind - 8 if kind in (8, 9) else int.from_bytes(content, 'big'))
            else:
                values.append(content.decode(errors='replace') if kind % 2 else content)
        return values

    def _payload(self, size: int, position: int, *, is_head: bool) -> bytes:
        """Bytes of a row: some in its cell, the rest in a chain of pages."""
        most, least = self._usable - 35, (self._usable - 12) * 32 // 255 - 23
        local = size
        if size > most:
            local = least + (size - least) % (self._usable - 4)
            local = local if local <= most else least
        parts = [self._data[position : position + local]]
        if local == size or is_head:
            return parts[0]
        left = size - local
        page = int.from_bytes(self._data[position + local : position + local + 4], 'big')
        while left > 0 and page:
            start = (page - 1) * self._page_size
            part = self._data[start + 4 : start + min(self._usable, left + 4)]
            if not part:
                break  # behind the end of the file
            parts.append(part)
            left -= len(part)
            page = int.from_bytes(self._data[start : start + 4], 'big')
        return b''.join(parts)

    def _varint(self, position: int) -> tuple[int, int]:
        return _varint(self._data[position : position + 9], 0, position)


def _varint(data: bytes, at: int, origin: int = 0) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where the next one lies."""
    value = 0
    for index in range(9):
        byte = data[at + index] if at + index < len(data) else 0  # behind the end of the file
        if index == 8:
            return value << 8 | byte, origin + at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, origin + at + index + 1
    raise AssertionError


def _column_size(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return {0: 0, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}.get(kind, kind)


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A string of an MCAP record, and where it ends."""
    end = at + 4 + int.from_bytes(content[at : at + 4], 'little')
    return content[at + 4 : end].decode(errors='replace'), end


def _unpack(chunk: bytes) -> bytes:
    """Records of a chunk, as many as its bytes give."""
    compression, at = _text(chunk, 28)
    packed = chunk[at + 8 :]
    if compression == 'zstd':
        return zstd.ZstdDecompressor().decompress(packed)
    return bytes(LZ4FrameDecompressor().decompress(packed)) if compression == 'lz4' else packed


def _split(records: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 9 <= len(records):
        end = at + 9 + int.from_bytes(records[at + 1 : at + 9], 'little')
        if end > len(records):
            return
        yield records[at], records[at + 9 : end]
        at = end
