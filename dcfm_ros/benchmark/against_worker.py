"""A stream through the engine of whichever build is imported, one frame per line of input.

Works with builds from before `EngineOptions` and `load_network`; so it is run as a file, and
imports only what its build has.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np


def make_engine(checkpoint: str, interval: int, height: int) -> Any:
    """The engine of this build with its defaults, but for interval and height."""
    from dcfm_ros import engine

    if not hasattr(engine, 'load_network'):
        from dcfm_ros.models.checkpoint import load_checkpoint

        make: Any = engine.SegmentationEngine
        return make(load_checkpoint(checkpoint), schedule=interval, inference_height=height)
    from dcfm_ros.engine import EngineOptions, ScheduleOptions

    schedule = ScheduleOptions(keyframe_interval=interval, max_time_gap_s=0.0)
    options = EngineOptions(inference_height=height)
    return engine.SegmentationEngine(engine.load_network(checkpoint), options, schedule)


def main() -> None:
    """Take the number of a frame from every line; answer with the ms of its step."""
    file, checkpoint, interval, height = sys.argv[1:]
    images = np.load(file)
    engine = make_engine(checkpoint, int(interval), int(height))
    for line in sys.stdin:
        number = int(line)
        image = images[number % len(images)]
        begin = time.perf_counter()
        engine.step(image, number * 33_000_000)
        print((time.perf_counter() - begin) * 1e3, flush=True)


if __name__ == '__main__':
    main()
