"""What came of reading a damaged file, beside what the whole one gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dcfm_ros.torture.file_kinds import REFUSALS, Kind, Reading

GOOD = ('same', 'refused', 'partial', 'untold')
BAD = ('silent', 'foreign error', 'crash', 'hang', 'memory', 'executed')
OUTCOMES = {
    'same': 'equal to the undamaged file',
    'refused': 'an error that names the file',
    'partial': 'something is missing or different, and a warning says so',
    'untold': 'other values, where the format has no checksum that could tell',
    'silent': 'something is missing or different without a word',
    'foreign error': 'an error of another kind, or without the name of the file',
    'crash': 'the process died',
    'hang': 'not done within the time limit',
    'memory': 'more memory than the limit',
    'executed': 'the file made the process do something',
}
"""By name: what it means."""


def judge(kind: Kind, path: Path, whole: Sequence[str], reading: Reading) -> tuple[str, str]:
    """Outcome of a reading, and what is to be known of it if it is bad.

    Args:
        kind: Of the file.
        path: Of the damaged file; a message may name its folder, which is what was opened.
        whole: Parts of the undamaged one.
        reading: Of the damaged one.
    """
    error = reading.error
    if isinstance(error, MemoryError):
        return 'memory', repr(error)
    names = path.name, str(path.parent)
    if error is not None:
        is_ours = isinstance(error, REFUSALS) and any(n in str(error) for n in names)
        return ('refused', '') if is_ours else ('foreign error', repr(error)[:300])
    if reading.parts == list(whole):
        return 'same', ''
    if reading.notes:
        return 'partial', ''
    count = f'{len(reading.parts)} parts of {len(whole)}'
    if kind.is_sealed or len(reading.parts) != len(whole):
        return 'silent', count
    return 'untold', ''
