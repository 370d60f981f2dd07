"""Files that were made to do harm: to be executed, to fill the memory, to lead elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
import json
import os
from pathlib import Path
import pickle
import struct
import tempfile
import zlib

from dcfm_ros.images.png_chunks import SIGNATURE, chunk
from dcfm_ros.recordings.zstd import ZstdCompressor


def mark() -> Path:
    """A file that exists once something was executed."""
    return Path(tempfile.gettempdir(), f'dcfm_executed_{os.getpid()}')


class _Pickled:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f'touch {mark()}',)


@cache
def hostile_files(kind: str) -> Mapping[str, bytes]:
    """Files that take the place of one of a kind, by what they are."""
    if kind.endswith(('YAML', 'yaml', 'JSON')):
        return _tables()
    if kind in ('checkpoint', 'graphs', 'int8 graphs'):
        return _tensors()
    if kind.startswith(('PNG', 'JPEG', 'label')):
        return {
            **{f'PNG of {n}x{n}': _png(n) for n in (4000, 16000, 30000, 65000)},
            'JPEG of 65000x65000': _JPEG,
        }
    if kind in ('db3.zstd', 'mcap.zstd'):
        return {'zstd of 700 MB of nothing': _zeros()}
    return {'nothing': b'', 'pickle': pickle.dumps(_Pickled())}


def _tables() -> dict[str, bytes]:
    levels = [f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 12)]
    laughs = '\n'.join(['a0: &a0 [lol, lol]', *levels])
    names = ['python/object/apply:os.system', 'python/object/new:os.system']
    run = {f'YAML of {name}': f'!!{name} ["touch {mark()}"]'.encode() for name in names}
    return {
        **run,
        'nested aliases': laughs.encode(),
        'an alias of itself': b'&a {a: *a}',
        '5,000 lists in each other': b'[' * 5000,
        'a long number': b'0: ' + b'9' * 6000,
        'pickle': pickle.dumps(_Pickled()),
    }


def _tensors() -> dict[str, bytes]:
    def header(values: object, data: bytes = b'') -> bytes:
        text = json.dumps(values).encode()
        return struct.pack('<Q', len(text)) + text + data

    big = {'a': {'dtype': 'F32', 'shape': [1 << 40], 'data_offsets': [0, 1 << 42]}}
    nested = b'[' * 200_000
    return {
        'pickle': pickle.dumps(_Pickled()),
        'a header of 4 GB': struct.pack('<Q', 1 << 32),
        'a tensor of 4 TB': header(big),
        'lists in each other': struct.pack('<Q', len(nested)) + nested,
        'no tensors': header({'__metadata__': {'format_version': '2', 'config': '{}'}}),
        'a nested configuration': header(
            {'__metadata__': {'format_version': '2', 'config': '[' * 100_000}}
        ),
    }


def _png(size: int) -> bytes:
    """A PNG of few bytes that declares many pixels."""
    fields = struct.pack('>IIBBBBB', size, size, 8, 2, 0, 0, 0)
    content = zlib.compress(bytes(1000))
    parts = ((b'IHDR', fields), (b'IDAT', content), (b'IEND', b''))
    return SIGNATURE + b''.join(chunk(name, data) for name, data in parts)


_JPEG = (
    b'\xff\xd8\xff\xc0\x00\x11\x08\xfd\xe8\xfd\xe8\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00'
    b'\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00\x00\xff\xd9'
)


def _zeros() -> bytes:
    packer = ZstdCompressor()
    block = bytes(1 << 24)
    return b''.join(packer.compress(block) for _ in range(42)) + packer.flush()
