"""What happens inside a worker of `workers.map_in_order`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import os
from pathlib import Path
import pickle
import sys
from typing import Any

_loaded: tuple[str, Callable[[Any], Any]] | None = None
"""In a worker: the function that it was given, after the key that it was known by."""


def start_worker(key: str, payload: bytes, threads: int, folder: Path) -> None:
    """Take the function, the number of threads and the folder to work in."""
    global _loaded
    if folder.is_dir():
        os.chdir(folder)  # relative paths mean here what they mean where the work is given out
    os.environ['OMP_NUM_THREADS'] = str(threads)  # for what is imported later
    _loaded = key, pickle.loads(payload)
    _set_threads({'torch': threads, 'cv2': threads})


def work(item: Any) -> Any:
    """Call the function on an item."""
    assert _loaded is not None
    return _loaded[1](item)


def work_on_ray(references: list[Any], item: Any, threads: int, folder: Path) -> Any:
    """Work on an item; the function stays, for a worker of Ray is given many items."""
    key = references[0].hex()
    if _loaded is None or _loaded[0] != key:
        start_worker(key, import_ray().get(references[0]), threads, folder)
    return work(item)


_THREADS = {
    'torch': ('get_num_threads', 'set_num_threads'),
    'cv2': ('getNumThreads', 'setNumThreads'),
}
"""Functions of a library that get and set the number of its threads."""


@contextmanager
def threads_of_libraries(count: int) -> Iterator[None]:
    """Have the libraries that are loaded compute with this number of threads for a while."""
    loaded = _THREADS.keys() & sys.modules.keys()
    before = {name: getattr(sys.modules[name], _THREADS[name][0])() for name in loaded}
    _set_threads(dict.fromkeys(loaded, count))
    try:
        yield
    finally:
        _set_threads(before)


def _set_threads(counts: Mapping[str, int]) -> None:
    """Set those of the libraries that are loaded."""
    for name in counts.keys() & sys.modules.keys():
        getattr(sys.modules[name], _THREADS[name][1])(counts[name])


def import_ray() -> Any:
    """The module ray; RuntimeError if it is not installed."""
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'  # read when it starts: nothing phones home
    try:
        import ray
    except ImportError as error:
        text = "`ray_address` needs the package ray: pip install 'dcfm_ros[cluster]'"
        raise RuntimeError(text) from error
    return ray
