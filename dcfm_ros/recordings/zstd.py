"""Zstandard, which Python has itself from 3.14 on; older ones take it from backports.zstd."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, ZstdError, decompress, open
else:
    from backports.zstd import ZstdCompressor, ZstdError, decompress, open

__all__ = ['ZstdCompressor', 'ZstdError', 'decompress', 'open']
