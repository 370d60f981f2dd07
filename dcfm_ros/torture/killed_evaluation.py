"""`dcfm evaluate` in several processes, of which some are killed."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import psutil

from dcfm_ros.torture.training_process import wait_for, wait_or_kill

_WAIT_S = 600.0


def killed_evaluation(footage: Path, folder: Path, random: np.random.Generator) -> dict[str, int]:
    """Evaluate the packaged weights, with a worker killed at a random moment.

    Args:
        footage: In CamVid's layout, with two drives.
        folder: Keeps what an evaluation gives of which no worker was killed.
        random: Decides the moment.

    Returns:
        'evaluations', 'workers_killed', and 'other_json': 1 if the JSON is another one,
        measured times left out.
    """
    folder.mkdir(exist_ok=True)
    expected, found = folder / 'unbroken.json', folder / 'killed.json'
    if not expected.exists():
        wait_or_kill(_start(footage, expected), _WAIT_S)
    process = _start(footage, found)
    killed = 0
    if wait_for(process, lambda: len(_workers(process)) == 2):
        try:
            process.wait(float(random.uniform(0.0, 4.0)))
        except subprocess.TimeoutExpired:
            workers = _workers(process)
            if workers:
                workers[int(random.integers(len(workers)))].kill()
                killed = 1
    wait_or_kill(process, _WAIT_S)
    is_same = found.exists() and _read(found) == _read(expected)
    found.unlink(missing_ok=True)
    return {'evaluations': 1, 'workers_killed': killed, 'other_json': int(not is_same)}


def _start(footage: Path, output: Path) -> subprocess.Popen[bytes]:
    options = {
        'root': footage,
        'intervals': '1,2',
        'jobs': 2,
        'threads': 1,
        'device': 'cpu',
        'json': output,
    }
    words = [str(word) for name, value in options.items() for word in (f'--{name}', value)]
    command = [sys.executable, '-m', 'dcfm_ros.cli.main', 'evaluate', '--no-floors', *words]
    with output.with_suffix('.log').open('wb') as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})


def _workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    found = []
    try:
        for child in psutil.Process(process.pid).children():
            if 'spawn_main' in ' '.join(child.cmdline()):
                found.append(child)
    except psutil.Error:
        pass
    return found


def _read(path: Path) -> Any:
    """What an evaluation has written, without the times that it has measured."""
    return json.loads(path.read_text(encoding='utf-8'), object_hook=_without_times)


def _without_times(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k != 'ms' and not k.startswith('ms_')}
