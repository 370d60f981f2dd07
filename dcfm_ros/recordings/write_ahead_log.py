"""How far the write-ahead log of an SQLite database can be read, and whether that is all of it.

SQLite takes the log as ended at the first page whose checksum is wrong, in silence: so it looks
after a crash in the middle of a write.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
import struct
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x377F0682
"""Its last bit is set if checksums are of big-endian words."""
_HEADER, _FRAME = 32, 24


class _Frame(NamedTuple):
    """A page in the log, and what stands before it."""

    ends_transaction: bool
    salts: bytes
    """Those of the log's header, unless it is left of an earlier use of the file."""
    checksum: tuple[int, int]
    covered: bytes
    """What the checksum covers, after what it covers of the pages before."""


def log_problem(path: Path) -> str:
    """What SQLite will not read of a log, in words; '' if it reads all that the log is for.

    Args:
        path: The log, 'run_0.db3-wal'.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return f'{path.name} ends early: it has no header'
        magic, _, page, _ = struct.unpack('>IIII', header[:16])
        salts = header[16:24]
        order = '>u4' if magic & 1 else '<u4'
        state = _sum((0, 0), np.frombuffer(header[:24], order))
        if magic & ~1 != _MAGIC or state != struct.unpack('>II', header[24:]):
            return f'{path.name} cannot be read: its header is damaged'
        num_read = num_ours = num_committed = 0
        is_read = True
        for number, frame in enumerate(_frames(file, page), start=1):
            state = _sum(state, np.frombuffer(frame.covered, order)) if is_read else state
            is_read = is_read and frame.salts == salts and state == frame.checksum
            num_read += is_read
            if is_read and frame.ends_transaction:
                num_committed = number
            if frame.salts == salts:
                num_ours = number
        torn = (size - _HEADER) % (_FRAME + page)
    total = max(num_ours, num_read)
    # What is left of an earlier use of the file goes on behind the last page of this one.
    if num_committed < total or (torn and total == (size - _HEADER) // (_FRAME + page)):
        found = f'{num_committed} of {total + bool(torn)} pages can be read'
        return f'{path.name} is damaged or ends early: {found}'
    return ''


def _frames(file: BinaryIO, page: int) -> Iterator[_Frame]:
    while len(data := file.read(_FRAME + page)) == _FRAME + page:
        size, checksum = *struct.unpack_from('>I', data, 4), struct.unpack_from('>II', data, 16)
        yield _Frame(size > 0, data[8:16], checksum, data[:8] + data[_FRAME:])


def _sum(state: tuple[int, int], words: NDArray[np.uint32]) -> tuple[int, int]:
    """SQLite's checksum after some more words; it adds them pair by pair, this all at once."""
    carried, added = _weights(len(words) // 2)
    total = carried @ np.array(state, np.uint32)
    total += np.einsum('kij,kj->i', added, words.reshape(-1, 2).astype(np.uint32))
    return int(total[0]), int(total[1])


@cache
def _weights(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What the checksum before `count` pairs, (2, 2), and each pair, (count, 2, 2), are taken by.

    A pair (a, b) turns the checksum (s, t) into s' = s + t + a and t' = t + s' + b, modulo 2^32.
    """
    step = np.array([[1, 1], [1, 2]], np.uint32)
    power = np.eye(2, dtype=np.uint32)
    added = np.empty((count, 2, 2), np.uint32)
    for place in reversed(range(count)):
        added[place] = power @ np.array([[1, 0], [1, 1]], np.uint32)
        power = power @ step
    return power, added
