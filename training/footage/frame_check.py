"""Decodes what a training is about to read, so that it does not fail in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import zlib

from dcfm_ros.files import write_text
from dcfm_ros.training.footage.datasets import Clip, decoding_problems


def problems_once(clips: Sequence[Clip], folder: Path) -> list[str]:
    """What `datasets.check_clips` would list; nothing if it found these files good before.

    Args:
        clips: What to decode.
        folder: Gets a small file for each set of files that is good; any of them may be deleted.
    """
    record = folder / f'{_checksum(clips):08x}'
    if record.exists():
        return []
    problems = decoding_problems(clips)
    if not problems:
        write_text(record, f'{sum(len(clip.frames) for clip in clips)} frames can be read\n')
    return problems


def _checksum(clips: Sequence[Clip]) -> int:
    """Of names, sizes and times of change of the files, and of what their labels may hold."""
    checksum = 0
    for clip in clips:
        checksum = zlib.crc32(clip.labels.allowed.tobytes(), checksum)
        checksum = zlib.crc32(repr(sorted(clip.labels.colours)).encode(), checksum)
        for path in (path for frame in clip.frames for path in (frame.image, frame.label)):
            state = path.stat() if path is not None and path.is_file() else None
            described = (path and path.resolve(), state and (state.st_size, state.st_mtime_ns))
            checksum = zlib.crc32(repr(described).encode(), checksum)
    return checksum
