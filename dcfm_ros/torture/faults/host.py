"""Faults of the machine: no time, no memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import time

from dcfm_ros.torture.faults.process import Ending
from dcfm_ros.torture.faults.stage import EVEN, WAIT_S, Fault, Stage

_BUSY = 'while True: pass'
_BREAKABLE = """if True:
    import signal, sys
    from dcfm_ros import node
    from dcfm_ros.backends.openvino_models import _Compiled

    run, broken = _Compiled.__call__, []
    signal.signal(signal.SIGUSR1, lambda number, frame: broken.append(number))

    def run_or_fail(self, arrays):
        if broken:
            arrays = {name: array[:, :, :-1] for name, array in arrays.items()}
        return run(self, arrays)

    _Compiled.__call__ = run_or_fail
    sys.exit(node.main())
"""
"""A node whose OpenVINO fails from a signal on: it is given arrays that it must refuse."""


def _starved(stage: Stage) -> None:
    """Twice as many processes as cores that do nothing but compute."""
    count = 2 * (os.cpu_count() or 1)
    busy = [subprocess.Popen([sys.executable, '-c', _BUSY]) for _ in range(count)]
    try:
        with stage.stream():
            time.sleep(stage.random.uniform(1.0, 3.0))
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _limited(stage: Stage) -> None:
    """The node runs a tenth of the time, as `cpulimit` has it."""
    with stage.stream(), _going_on_afterwards(stage):
        for _ in range(20):
            stage.node.send(signal.SIGSTOP)
            time.sleep(0.09)
            stage.node.send(signal.SIGCONT)
            time.sleep(0.01)


def _frozen(stage: Stage) -> None:
    """The node is stopped, as a suspended machine or a debugger does it."""
    with stage.stream(), _going_on_afterwards(stage):
        stage.node.send(signal.SIGSTOP)
        time.sleep(stage.random.uniform(0.5, 3.0))


@contextmanager
def _going_on_afterwards(stage: Stage) -> Iterator[None]:
    try:
        yield
    finally:
        stage.node.send(signal.SIGCONT)


def _short_of_memory(stage: Stage) -> None:
    """No more of it than there is now, while images come; then as much as before.

    Only of sizes that have come before: OpenVINO computes wrong masks, and says nothing, if it
    cannot have the memory for the code of a new one.
    """
    pid = stage.node.pid
    assert stage.recover(WAIT_S) is not None
    pages = int(Path(f'/proc/{pid}/statm').read_text(encoding='ascii').split()[0])
    _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
    spare = stage.random.choice([0, 1, 4, 16]) * 1_000_000
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + spare, hard))
    try:
        with stage.stream():
            time.sleep(stage.random.uniform(0.5, 2.0))
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, (hard, hard))


def _backend_failure(stage: Stage) -> Ending:
    """Between two frames, or within one: PyTorch goes on, and no frame is lost."""
    stage.node.end(signal.SIGTERM)
    stage.launch(program=('-c', _BREAKABLE))
    stage.wait_until_ready()
    assert stage.recover(WAIT_S) is not None
    stage.begin_to_count()
    with stage.stream():
        time.sleep(stage.random.uniform(0.0, 0.5))
        stage.node.send(signal.SIGUSR1)
        stage.wait_for(lambda: 'backend_failure' in stage.camera.health.model, 'the failure')
    balance, masks = stage.settle(), stage.camera.masks
    assert balance == EVEN, f'with a backend that fails: {balance}'
    assert masks.total() == masks['right'], f'with a backend that fails: {masks}'
    assert stage.camera.health.model['backend'] == 'torch'
    ending = stage.node.end(signal.SIGTERM)
    stage.launch()
    stage.wait_until_ready()
    return ending


FAULTS = (
    Fault('CPU starved', _starved),
    Fault('node limited to a tenth of a CPU', _limited),
    Fault('node frozen', _frozen),
    Fault('memory short', _short_of_memory, is_exact=False),
    *(
        [Fault('OpenVINO fails', _backend_failure, is_exact=False, compiles=True)]
        if all(map(find_spec, ('openvino', 'torch')))
        else []
    ),
)
