"""`python -m dcfm_ros.benchmark`: `dcfm bench` where neither typer nor ROS is installed.

Its options are those of the command; tables go to the standard output.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dcfm_ros.benchmark.run import BenchOptions, measure_memory, run_bench
from dcfm_ros.benchmark.sections import sections, to_markdown
from dcfm_ros.files import write_json


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write the figures."""
    parser = argparse.ArgumentParser(prog='python -m dcfm_ros.benchmark')
    parser.add_argument('--model', action='append', default=[], help='preset or weights')
    parser.add_argument('--size', default='480x853', help='height x width')
    parser.add_argument('--backends', default='torch')
    parser.add_argument('--intervals', default='2,6')
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--frames-from')
    parser.add_argument('--memory-frames', type=int, default=0)
    parser.add_argument('--device', default='auto')
    parser.add_argument('--precision', default='auto')
    parser.add_argument('--json', type=Path)
    given = parser.parse_args(arguments)
    height, width = given.size.split('x')
    options = BenchOptions(
        models=tuple(given.model or ['default']),
        size=(int(height), int(width)),
        backends=tuple(given.backends.split(',')),
        intervals=tuple(map(int, given.intervals.split(','))),
        frames=given.frames,
        device=given.device,
        precision=given.precision,
        frames_from=given.frames_from,
    )
    figures = run_bench(options, say=print)
    if given.json:
        write_json(given.json, figures)
    if given.memory_frames:
        figures['memory'] = measure_memory(options, given.memory_frames)
        if given.json:
            write_json(given.json, figures)
    print(to_markdown(sections(figures)))


if __name__ == '__main__':
    main()
