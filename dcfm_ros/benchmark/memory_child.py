"""The process whose memory `memory` watches: an engine, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
import torch

from dcfm_ros.benchmark.load_model import load_model
from dcfm_ros.benchmark.memory import SAMPLES, resident_mb
from dcfm_ros.engine import SegmentationEngine


def main() -> None:
    """Segment frames; a line of JSON before the first, and one after every tenth of them."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    images = np.load(sys.argv[2])
    engine = SegmentationEngine(
        load_model(options['model']),
        device=options['device'],
        backend=options['backend'],
        schedule=options['interval'],
        execution=options['execution'],
    )
    _tell(engine)
    ends = np.linspace(0, options['frames'], SAMPLES + 1).round().astype(int)[1:].tolist()
    for index in range(options['frames']):
        engine.step(images[index % len(images)], index)
        if index + 1 in ends:
            _tell(engine)


def _tell(engine: SegmentationEngine) -> None:
    gpu_bytes = None if engine.device == 'cpu' else torch.cuda.max_memory_reserved(engine.device)
    values = {
        'rss_mb': round(resident_mb(os.getpid()), 1),
        'peak_rss_mb': round(_peak_mb(), 1),
        'peak_gpu_mb': None if gpu_bytes is None else round(gpu_bytes / 2**20, 1),
    }
    print(json.dumps(values), flush=True)


def _peak_mb() -> float:
    """Of this process alone: what `getrusage` tells a child begins with its parent's."""
    lines = Path('/proc/self/status').read_text(encoding='utf-8').splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))


if __name__ == '__main__':
    main()
