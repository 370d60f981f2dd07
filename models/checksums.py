"""Checksums in a safetensors file, which has none of its own; no torch.

They find damage, not forgery. A file without them, of an earlier release, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any
import zlib

CHECKSUMS = ('crc32_data', 'crc32')
"""What the metadata have of the bytes of all tensors, and of the rest of the header with it."""
_DATA, _HEADER = CHECKSUMS
_BLOCK = 1 << 20


def seal(file: bytes) -> bytes:
    """A safetensors file with checksums, and its metadata sorted, which are shuffled otherwise."""
    begin, end = 8, 8 + int.from_bytes(file[:8], 'little')
    header = json.loads(file[begin:end])
    given = {key: text for key, text in header['__metadata__'].items() if key not in CHECKSUMS}
    metadata = header['__metadata__'] = {**dict(sorted(given.items())), _DATA: ''}
    metadata[_DATA] = _hex(zlib.crc32(memoryview(file)[end:]))
    metadata[_HEADER] = _of_header(header)
    text = json.dumps(header, separators=(',', ':')).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, 'little') + text + file[end:]


def header_problem(path: Path) -> str:
    """What is wrong with the names, types, shapes and metadata in a file, in words; '': nothing.

    Raises:
        ValueError: If it has no header of JSON.
    """
    header, _ = _read_header(path)
    expected = _metadata(header).get(_HEADER)
    is_right = expected in (None, _of_header(header))
    return '' if is_right else f'its header is damaged: {_HEADER} is not {expected}'


def data_problem(path: Path) -> str:
    """What is wrong with the contents of the tensors in a file; otherwise as `header_problem`."""
    header, begin = _read_header(path)
    expected, found = _metadata(header).get(_DATA), 0
    if expected is None:
        return ''
    with path.open('rb') as file:
        file.seek(begin)
        while block := file.read(_BLOCK):
            found = zlib.crc32(block, found)
    return '' if _hex(found) == expected else f'its tensors are damaged: {_DATA} is not {expected}'


def _read_header(path: Path) -> tuple[Any, int]:
    """The header and where it ends; of a file that safetensors has opened, so it is short."""
    with path.open('rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        return json.loads(file.read(length)), 8 + length


def _metadata(header: Any) -> Mapping[str, str]:
    return dict(header.get('__metadata__') or {})


def _of_header(header: Mapping[str, Any]) -> str:
    metadata = {key: text for key, text in _metadata(header).items() if key != _HEADER}
    text = json.dumps({**header, '__metadata__': metadata}, sort_keys=True)
    return _hex(zlib.crc32(text.encode()))


def _hex(checksum: int) -> str:
    return f'{checksum:08x}'
