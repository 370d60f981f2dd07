"""`python -m dcfm_ros.benchmark.against COMMIT`: this build beside an older one, in one run.

The older one is checked out into a folder of its own and runs in this environment, with its own
packaged weights. Nodes of both start in turn, streams of both take short turns, so that what
slows the machine slows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Annotated, Any

import numpy as np
import typer

from dcfm_ros.benchmark.inputs import read_frames
from dcfm_ros.files import write_json
from dcfm_ros.machine import machine
from dcfm_ros.play.node_process import node_process
from dcfm_ros.play.player import PlayedFrame, connect, play
from dcfm_ros.play.process_meter import take_sample

_ROOT = Path(__file__).resolve().parents[2]
_SIZE = 480, 640
_HEIGHT = 360
"""Rows that the packaged weights were trained for."""
_WARM_UP = 12
_TURN = 12
"""Frames of a stream in a row: each build finds its own data in the caches, as on a robot."""
_WORKER = Path(__file__).with_name('against_worker.py')
_BUILDS = ('old', 'new')


def main(
    commit: Annotated[str, typer.Argument(help='The older build, for example e0cb67d.')],
    output: Annotated[Path, typer.Option(help='.json to write.')] = Path('out/against.json'),
    nodes: Annotated[int, typer.Option(min=1, help='Starts of each node.')] = 3,
    frames: Annotated[int, typer.Option(min=3, help='Images to each node.')] = 500,
    stream: Annotated[int, typer.Option(min=3, help='Frames of each stream.')] = 300,
    interval: Annotated[int, typer.Option(min=2, help='Keyframe interval of both.')] = 3,
    tier: Annotated[str, typer.Option(help='Name of the packaged weights.')] = 'default',
    same_weights: Annotated[
        bool, typer.Option(help='Run the old packaged weights in both, not each its own.')
    ] = False,
) -> None:
    """Compare memory, start and speed of this build with those of a commit, `new` by `old`."""
    here = machine()
    with old_build(commit) as folder:
        paths = {'old': folder, 'new': _ROOT}
        weights = {build: _packaged(path, tier) for build, path in paths.items()}
        if same_weights:
            weights['new'] = weights['old']
        measured: dict[str, list[dict[str, float]]] = {build: [] for build in _BUILDS}
        for number in range(nodes):
            for build in _BUILDS if number % 2 else reversed(_BUILDS):
                run = measure_node(paths[build], weights[build], frames, interval)
                measured[build].append(run)
        streams = measure_streams(paths, weights, stream, interval)
    figures: dict[str, Any] = {
        build: {
            **{key: float(np.median([run[key] for run in runs])) for key in runs[0]},
            **streams[build],
        }
        for build, runs in measured.items()
    }
    figures['new / old'] = {
        key: figures['new'][key] / value for key, value in figures['old'].items()
    }
    for name, values in figures.items():
        typer.echo(f'{name:10}' + '  '.join(f'{key} {value:.4g}' for key, value in values.items()))
    facts = {'commit': commit, 'interval': interval, 'tier': tier, 'same_weights': same_weights}
    write_json(output, {**facts, 'machine': here, **figures})


def _packaged(folder: Path, tier: str) -> str:
    path = folder / 'models' / 'weights' / f'{tier}.safetensors'
    if not path.is_file():
        found = sorted(one.stem for one in path.parent.glob('*.safetensors'))
        raise typer.BadParameter(f'{folder} has the tiers {", ".join(found)}, not {tier}')
    return str(path)


@contextmanager
def old_build(commit: str) -> Iterator[Path]:
    """The files of a commit in a folder of their own."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, 'build')
        git = ['git', '-C', str(_ROOT), 'worktree']
        subprocess.run([*git, 'add', '-q', '--detach', str(folder), commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, 'remove', '--force', str(folder)], check=True)


def measure_node(path: Path, weights: str, frames: int, interval: int) -> dict[str, float]:
    """Start a node and send it images, each when the last one is answered.

    Returns:
        'first_mask_s' (from the start of the process), 'memory_mb' after all images, and
        'latency_ms' (median from the arrival of an image to the publication of its mask).
    """
    images = [frame.image for frame in read_frames(None, _SIZE, 60)]
    played = [
        PlayedFrame(image=images[number % len(images)], stamp_ns=(number + 1) * 33_000_000)
        for number in range(frames)
    ]
    parameters = {'checkpoint': weights, 'keyframe_interval': interval}
    began_s = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        node_process(parameters, Path(folder, 'log'), path) as process,
        connect() as player,
    ):
        play(player, played[:1], wait_s=120.0)
        first_s = time.monotonic() - began_s
        report = play(player, played[1:], wait_s=120.0)
        sample = take_sample(process.pid)
    assert sample is not None
    latencies = [record.timing.latency_ms for record in report.records if record.timing]
    return {
        'first_mask_s': first_s,
        'memory_mb': sample.memory_mb,
        'latency_ms': float(np.median(latencies[_WARM_UP:])),
    }


def measure_streams(
    paths: dict[str, Path], weights: dict[str, str], frames: int, interval: int
) -> dict[str, dict[str, float]]:
    """Run the engines of both builds on the same frames, in turn."""
    images = np.stack([frame.image for frame in read_frames(None, _SIZE, 60)])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        np.save(folder / 'images.npy', images)
        workers = {}
        for build, path in paths.items():
            command = [sys.executable, str(_WORKER), str(folder / 'images.npy')]
            workers[build] = subprocess.Popen(
                [*command, weights[build], str(interval), str(_HEIGHT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, 'PYTHONPATH': str(path)},
            )
            stack.enter_context(workers[build])
            stack.callback(workers[build].kill)
        ms: dict[str, list[float]] = {build: [] for build in paths}
        for turn in range(0, frames + _WARM_UP, _TURN):
            for build in paths if turn // _TURN % 2 else reversed(list(paths)):
                numbers = range(turn, turn + _TURN)
                ms[build] += (_step(workers[build], number) for number in numbers)
    figures = {}
    for build, values in ms.items():
        later = values[_WARM_UP:]
        keys = np.arange(_WARM_UP, len(values)) % interval == 0
        figures[build] = {
            'stream_ms': float(np.mean(later)),
            'key_ms': float(np.median(np.array(later)[keys])),
            'nonkey_ms': float(np.median(np.array(later)[~keys])),
        }
    return figures


def _step(worker: subprocess.Popen[str], number: int) -> float:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(f'{number}\n')
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError(f'the worker of a build ended with code {worker.wait()}')
    return float(line)


if __name__ == '__main__':
    typer.run(main)
