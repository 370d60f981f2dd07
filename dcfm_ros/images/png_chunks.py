"""The chunks of a PNG file, each with its checksum."""

from __future__ import annotations

from collections.abc import Iterator
import struct
import zlib

SIGNATURE = b'\x89PNG\r\n\x1a\n'


def read_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of every chunk, up to the last.

    Args:
        data: A file that begins with `SIGNATURE`.

    Raises:
        struct.error: If the data end too early.
        ValueError: If a checksum is wrong.
    """
    view, position, name = memoryview(data), len(SIGNATURE), b''
    while name != b'IEND':
        length, name = struct.unpack_from('>I4s', data, position)
        position += 8
        (checksum,) = struct.unpack_from('>I', data, position + length)
        if zlib.crc32(view[position - 4 : position + length]) != checksum:
            got = f'one whose chunk {name!r} at byte {position - 8} has a wrong checksum'
            raise ValueError(f'`data` must be an intact PNG image, got {got}')
        yield name, view[position : position + length]
        position += length + 4


def chunk(name: bytes, content: bytes | memoryview) -> bytes:
    """A chunk with its length and checksum."""
    named = name + bytes(content)
    return struct.pack('>I', len(content)) + named + struct.pack('>I', zlib.crc32(named))
