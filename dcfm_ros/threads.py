"""How many threads compute: one number for OpenVINO, PyTorch and OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
import sys
from typing import Any

import cv2

_given = 0
_opencv_default = cv2.getNumThreads()
_torch_default = 0


def num_threads() -> int:
    """Threads that a network computes with, at least 1.

    What `set_num_threads` was given; else as many as PyTorch takes, where it is loaded; else
    OMP_NUM_THREADS, or one per core that this process may use.
    """
    if _given:
        return _given
    if torch := _loaded_torch():
        return int(torch.get_num_threads())
    wanted = os.environ.get('OMP_NUM_THREADS', '').partition(',')[0]
    return int(wanted) if wanted.isdecimal() else len(os.sched_getaffinity(0))


def set_num_threads(count: int) -> None:
    """Set the number for all of them; 0: each takes as many as it does by itself."""
    global _given
    _given = count
    cv2.setNumThreads(count or _opencv_default)
    _tell_torch(count)


def tell_torch() -> None:
    """Give PyTorch the number that was set before it was loaded, if any."""
    if _given:
        _tell_torch(_given)


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Set the number, and then all as it was."""
    global _given
    torch = _loaded_torch()
    before = _given, cv2.getNumThreads(), torch.get_num_threads() if torch else 0
    set_num_threads(count)
    try:
        yield
    finally:
        _given = before[0]
        cv2.setNumThreads(before[1])
        if torch:
            torch.set_num_threads(before[2])


def _tell_torch(count: int) -> None:
    global _torch_default
    if torch := _loaded_torch():
        _torch_default = _torch_default or int(torch.get_num_threads())
        torch.set_num_threads(count or _torch_default)


def _loaded_torch() -> Any:
    return sys.modules.get('torch')
