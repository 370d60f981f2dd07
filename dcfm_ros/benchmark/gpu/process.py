"""Runs a part in a process of its own.

A part that hangs is ended without the others, a CUDA error ends no other part, and none finds
memory that another has left behind.
"""

from __future__ import annotations

from dataclasses import asdict
import json
import subprocess
import sys
from typing import Any

from dcfm_ros.benchmark.gpu.case import Case


def run_apart(part: str, case: Case, limit_s: float) -> dict[str, Any]:
    """Run a part in a process of its own.

    Args:
        part: 'masks' (`compare_masks`), 'times' (`measure_times`) or 'memory' (`watch_memory`).
        case: What it measures.
        limit_s: Time that it has, seconds.

    Returns:
        Its figures.

    Raises:
        TimeoutError: If it takes longer than `limit_s`.
        RuntimeError: If it fails, with the last line that it wrote; all of them are on stderr.
    """
    command = [sys.executable, '-m', 'dcfm_ros.benchmark.gpu.process', part]
    try:
        done = subprocess.run(
            [*command, json.dumps(asdict(case))],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f'cut off after {limit_s:.0f} s') from None
    sys.stderr.write(done.stderr)
    if done.returncode:
        *_, last = ['no output', *done.stderr.strip().splitlines()]
        raise RuntimeError(f'ended with {done.returncode}: {last}')
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The process: the figures of a part as one line of JSON."""
    # Here, so that the process that starts this one need not wait for them.
    from dcfm_ros.benchmark.gpu.masks import compare_masks
    from dcfm_ros.benchmark.gpu.memory import watch_memory
    from dcfm_ros.benchmark.gpu.times import measure_times
    from dcfm_ros.benchmark.inputs import load_model

    part, values = sys.argv[1], json.loads(sys.argv[2])
    case = Case(**{**values, 'size': tuple(values['size'])})
    run = {'masks': compare_masks, 'times': measure_times, 'memory': watch_memory}[part]
    print(json.dumps(run(load_model(case.model), case)), flush=True)


if __name__ == '__main__':
    main()
