"""The profile for large images that is shipped for Fast DDS, and whether a process uses it."""

from __future__ import annotations

import os
from pathlib import Path
import re
import sys

PROFILE_NAME = 'fastdds_large_images.xml'
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Environment variables that name the profile: up to Fast DDS 2, and from Fast DDS 3."""
_SEGMENT = re.compile(r'/dev/shm/(?:fastrtps|fastdds)_[0-9a-f]+$')


def packaged_profile() -> Path:
    """Where the shipped profile lies: in the source tree, or where it was installed.

    Raises:
        FileNotFoundError: If it is nowhere.
    """
    prefixes = [sys.prefix, *filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(':'))]
    folders = [Path(__file__).resolve().parents[2]]
    folders += [Path(prefix) / 'share' / 'dcfm_ros' for prefix in prefixes]
    for folder in folders:
        if (path := folder / 'config' / PROFILE_NAME).exists():
            return path
    raise FileNotFoundError(f'{PROFILE_NAME} is not in {", ".join(map(str, folders))}')


def use_profile(path: Path | None) -> None:
    """Let this process and those it starts use a profile, or none.

    Fast DDS reads it when the first node of a process is made, and only then.

    Raises:
        FileNotFoundError: If there is no such file; Fast DDS would ignore it.
    """
    if path is not None and not path.is_file():
        raise FileNotFoundError(f'no such Fast DDS profile: {path}')
    for name in VARIABLES:
        os.environ.pop(name, None)
        if path is not None:
            os.environ[name] = str(path.resolve())


def profile_in_use() -> str | None:
    """The profile that the environment names; None if there is none."""
    return next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)


def shared_segment_mb(pid: int) -> float | None:
    """Largest segment of shared memory that a process has opened for Fast DDS, MB (1e6 bytes).

    That is what tells whether a profile was taken: Fast DDS ignores one that it cannot read.

    Returns:
        None if it has opened none, or the system does not tell.
    """
    try:
        lines = Path(f'/proc/{pid}/maps').read_text(encoding='utf-8').splitlines()
    except OSError:
        return None
    sizes = []
    for line in lines:
        addresses, _, rest = line.partition(' ')
        if _SEGMENT.search(rest):
            start, _, end = addresses.partition('-')
            sizes.append(int(end, 16) - int(start, 16))
    return max(sizes) / 1e6 if sizes else None
