"""The packaged Fast DDS profile for large images, and whether a process uses it."""

from __future__ import annotations

import os
from pathlib import Path
import re
import sys

import psutil

PROFILE_NAME = 'fastdds_large_images.xml'
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Environment variables that name the profile: up to Fast DDS 2, and from Fast DDS 3."""
_SEGMENT = re.compile(r'/dev/shm/(?:fastrtps|fastdds)_[0-9a-f]+$')
_FAST_DDS_3 = re.compile(r'/libfastdds\.so')


def profile_variable() -> str:
    """The one of `VARIABLES` that the middleware of this process is to be given.

    Fast DDS 2 (Humble, Jazzy) ignores the new one. With Fast DDS 3 (Kilted and later) ROS warns of
    the old one, and where both are set it loads both files, with errors for what is in each.
    """
    import rclpy

    rclpy.get_rmw_implementation_identifier()  # loads it
    maps = psutil.Process().memory_maps()
    return VARIABLES[any(_FAST_DDS_3.search(m.path) for m in maps)]


def packaged_profile() -> Path:
    """Path of the packaged profile: in the source tree, or where it was installed.

    Raises:
        FileNotFoundError: If it is in none of these places.
    """
    prefixes = [sys.prefix, *filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(':'))]
    folders = [Path(__file__).resolve().parents[2]]
    folders += [Path(prefix) / 'share' / 'dcfm_ros' for prefix in prefixes]
    for folder in folders:
        if (path := folder / 'config' / PROFILE_NAME).exists():
            return path
    raise FileNotFoundError(f'{PROFILE_NAME} is not in {", ".join(map(str, folders))}')


def use_profile(path: Path | None) -> None:
    """Set a profile, or none, for this process and those it starts.

    Fast DDS reads it once, when the first node of a process is created.

    Raises:
        FileNotFoundError: If there is no such file; Fast DDS would ignore it.
    """
    if path is not None and not path.is_file():
        raise FileNotFoundError(f'no such Fast DDS profile: {path}')
    for name in VARIABLES:
        os.environ.pop(name, None)
    if path is not None:
        os.environ[profile_variable()] = str(path.resolve())


def profile_in_use() -> str | None:
    """The profile that the environment names to the middleware of this process, or None.

    Fast DDS 3 reads both: of two files that call their profile alike, that of the old one wins.
    """
    read = VARIABLES[: 1 + VARIABLES.index(profile_variable())]
    return next((os.environ[name] for name in read if os.environ.get(name)), None)


def shared_segment_mb(pid: int) -> float | None:
    """Size of the largest shared memory segment of Fast DDS that a process has mapped, MB (1e6 B).

    It shows whether a profile took effect: Fast DDS ignores one that it cannot read.

    Returns:
        None if the process has mapped none, or may not be looked into.
    """
    try:
        maps = psutil.Process(pid).memory_maps(grouped=False)
    except psutil.Error:
        return None
    return max((m.size / 1e6 for m in maps if _SEGMENT.search(m.path)), default=None)
