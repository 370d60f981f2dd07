"""Memory of an engine over many frames, in a process of its own that runs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import torch

from dcfm_ros.benchmark.inputs import load_for_engine, read_frames
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

_SAMPLES = 10
_DRIVE_FRAMES = 24
"""Frames that are played again and again; few, because the process keeps them."""


def engine_memory(
    model: str,
    size: tuple[int, int],
    frames: int,
    options: EngineOptions,
    interval: int = 6,
) -> dict[str, Any]:
    """Run an engine over frames in a process of its own and watch its memory.

    Args:
        model: As in `load_model`.
        size: (H, W) of the frames.
        frames: How many, at least `_SAMPLES`.
        options: How the network is run.
        interval: Keyframe interval, frames.

    Returns:
        What was run, and in MB: 'loaded_mb' (before the first frame), 'rss_mb' (`_SAMPLES` samples
        of the resident memory), 'growth_mb' (see `growth`), 'peak_rss_mb' (sampled every 50 ms)
        and 'peak_gpu_mb', None on the CPU.

    Raises:
        RuntimeError: If the process fails; it says why.
    """
    from dcfm_ros.play.process_meter import ProcessMeter

    if frames < _SAMPLES:
        raise ValueError(f'`frames` must be at least {_SAMPLES}, got {frames}')
    run = {'model': model, 'frames': frames, 'interval': interval, 'engine': asdict(options)}
    with tempfile.TemporaryDirectory() as folder:
        drive = Path(folder) / 'drive.npy'
        np.save(drive, np.stack([f.image for f in read_frames(None, size, _DRIVE_FRAMES)]))
        command = [sys.executable, '-m', 'dcfm_ros.benchmark.memory', json.dumps(run), str(drive)]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child,
            ProcessMeter(child.pid) as meter,
        ):
            assert child.stdout is not None
            samples = [json.loads(line) for line in child.stdout]
    if child.returncode:
        raise RuntimeError(f'the engine of `{model}` ended with {child.returncode}')
    loaded, *resident = (sample['rss_mb'] for sample in samples)
    peak_mb = meter.figures(0.0, float('inf'))['memory_mb_max'] or 0.0
    return {
        **{name: run[name] for name in ('model', 'frames', 'interval')},
        'backend': options.backend,
        'execution': options.execution,
        'size': f'{size[0]}x{size[1]}',
        'loaded_mb': loaded,
        'rss_mb': resident,
        'growth_mb': growth(resident),
        'peak_rss_mb': max(peak_mb, *resident),
        'peak_gpu_mb': samples[-1]['peak_gpu_mb'],
    }


def growth(samples: Sequence[float]) -> float:
    """Mean of the last fifth of the samples minus that of the second: the first one warms up."""
    fifth = max(1, len(samples) // 5)
    return round(float(np.mean(samples[-fifth:]) - np.mean(samples[fifth : 2 * fifth])), 2)


def main() -> None:
    """The process: a line of JSON before the first frame, and one after every tenth of them."""
    run: dict[str, Any] = json.loads(sys.argv[1])
    images = np.load(sys.argv[2])
    options = EngineOptions(**run['engine'])
    engine = SegmentationEngine(
        load_for_engine(run['model'], options),
        options,
        ScheduleOptions(keyframe_interval=run['interval'], max_time_gap_s=0),
    )
    _print_sample(engine.backend.device)
    ends = np.linspace(0, run['frames'], _SAMPLES + 1).round().astype(int)[1:].tolist()
    for index in range(run['frames']):
        engine.step(images[index % len(images)], index)
        if index + 1 in ends:
            _print_sample(engine.backend.device)


def _print_sample(device: str) -> None:
    from dcfm_ros.play.process_meter import take_sample

    sample = take_sample(os.getpid())
    assert sample is not None
    gpu_mb = torch.cuda.max_memory_reserved(device) / 1e6 if device != 'cpu' else None
    print(json.dumps({'rss_mb': round(sample.memory_mb, 1), 'peak_gpu_mb': gpu_mb}), flush=True)


if __name__ == '__main__':
    main()
