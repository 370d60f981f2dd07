"""What a process holds at a moment: memory, files, threads, shared memory."""

from __future__ import annotations

from typing import Any

import psutil


def process_state(pid: int) -> dict[str, Any]:
    """What a process holds.

    Returns:
        'memory_mb' (resident), and the numbers of open 'files' (descriptors), 'threads' and
        'shared_memory_files' that are mapped.

    Raises:
        RuntimeError: If there is no such process any more.
    """
    try:
        process = psutil.Process(pid)
        maps = {
            entry.path for entry in process.memory_maps() if entry.path.startswith('/dev/shm/')
        }
        return {
            'memory_mb': process.memory_info().rss / 1e6,
            'files': process.num_fds(),
            'threads': process.num_threads(),
            'shared_memory_files': len(maps),
        }
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        raise RuntimeError(f'process {pid} has ended, see its log') from None
