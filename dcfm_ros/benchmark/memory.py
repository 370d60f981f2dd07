"""Memory of processes of their own: the engine's and the node's, over many frames.

A child process, so that its peak is that of what it runs and of nothing that was measured before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.benchmark.frames import read_frames

SAMPLES = 10
_DRIVE_FRAMES = 24
"""Frames that are played again and again; few, since the process keeps them."""


def engine_memory(
    model: str,
    size: tuple[int, int],
    frames: int,
    *,
    backend: str = 'torch',
    device: str = 'auto',
    interval: int = 6,
    execution: str = 'amortised',
    on_sample: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run an engine over frames in a process of its own and watch its memory.

    Args:
        model: As in `load_model`.
        size: (H, W) of the frames.
        frames: How many, at least `SAMPLES`.
        backend: As in `SegmentationEngine`.
        device: As in `SegmentationEngine`.
        interval: Keyframe interval, frames.
        execution: As in `SegmentationEngine`.
        on_sample: Called for every line that the process tells, `SAMPLES` + 1.

    Returns:
        What was run, 'loaded_mb' (before the first frame), 'rss_mb' (`SAMPLES` samples of the
        resident memory), 'growth_mb' (mean of the last fifth of them minus that of the second),
        'peak_rss_mb', and 'peak_gpu_mb', None on the CPU.

    Raises:
        RuntimeError: If the process fails; it says why.
    """
    if frames < SAMPLES:
        raise ValueError(f'`frames` must be at least {SAMPLES}, got {frames}')
    options = {
        'model': model,
        'backend': backend,
        'device': device,
        'interval': interval,
        'execution': execution,
        'frames': frames,
    }
    with tempfile.TemporaryDirectory() as folder:
        drive = Path(folder) / 'drive.npy'
        images = [frame.image for frame in read_frames(None, size, _DRIVE_FRAMES)]
        np.save(drive, np.stack(images))
        command = [sys.executable, '-m', 'dcfm_ros.benchmark.memory_child', json.dumps(options)]
        samples = []
        with subprocess.Popen([*command, str(drive)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                samples.append(json.loads(line))
                on_sample()
    if child.returncode:
        raise RuntimeError(f'the engine of `{model}` ended with {child.returncode}')
    loaded, *played = samples
    resident = [sample['rss_mb'] for sample in played]
    return {
        **options,
        'size': f'{size[0]}x{size[1]}',
        'loaded_mb': loaded['rss_mb'],
        'rss_mb': resident,
        'growth_mb': growth(resident),
        'peak_rss_mb': played[-1]['peak_rss_mb'],
        'peak_gpu_mb': played[-1]['peak_gpu_mb'],
    }


def node_memory(
    frames: int, size: tuple[int, int], on_frame: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Play frames to a node of its own, each when the last is answered, and watch its memory.

    Args:
        frames: How many.
        size: (H, W) of the frames.
        on_frame: Called for every frame.

    Returns:
        {'frames', 'answered', 'rss_mb', 'growth_mb'} as in `engine_memory`, of the whole process.
    """
    from dcfm_ros.play.node_process import node_process
    from dcfm_ros.play.player import PlayedFrame, play

    images = [frame.image for frame in read_frames(None, size, 60)]
    samples: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        node_process({'keyframe_interval': 6}, Path(folder) / 'node.log') as process,
    ):

        def sample(index: int, mask: NDArray[np.uint8]) -> None:
            samples.append(resident_mb(process.pid))
            on_frame()

        played = (
            PlayedFrame(image=images[i % len(images)], stamp_ns=(i + 1) * 33_000_000)
            for i in range(frames)
        )
        report = play(played, rate_hz=None, on_mask=sample, wait_s=120.0)
    return {
        'frames': frames,
        'answered': report.answered,
        'rss_mb': [round(float(np.mean(part)), 1) for part in np.array_split(samples, SAMPLES)],
        'growth_mb': growth(samples),
    }


def growth(samples: Sequence[float]) -> float:
    """Mean of the last fifth of the samples minus that of the second: the first one warms up."""
    fifth = max(1, len(samples) // 5)
    return round(float(np.mean(samples[-fifth:]) - np.mean(samples[fifth : 2 * fifth])), 2)


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MiB."""
    pages = int(Path(f'/proc/{pid}/statm').read_text(encoding='utf-8').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / (1 << 20)
