"""Faults that end the node: signals at random moments; then another node is started."""

from __future__ import annotations

import signal
import time

from dcfm_ros.torture.faults.process import Ending
from dcfm_ros.torture.faults.stage import Fault, Stage

_SIGNALS = signal.SIGTERM, signal.SIGINT
_LOADING_S = 6.0
"""A node is ready within that time on a machine that does nothing else."""


def _end(stage: Stage, times: int = 1) -> Ending:
    return stage.node.end(*[stage.random.choice(_SIGNALS) for _ in range(times)])


def _another(stage: Stage) -> None:
    stage.launch()
    stage.wait_until_ready()


def _while_it_starts(stage: Stage) -> Ending:
    """From the moment on at which the process handles signals, until it is ready."""
    stage.node.end(signal.SIGTERM)
    stage.launch()
    stage.wait_for(lambda: stage.node.handles(signal.SIGTERM), 'the node to handle signals')
    time.sleep(stage.random.choice([0.0, stage.random.uniform(0.0, _LOADING_S)]))
    ending = _end(stage)
    _another(stage)
    return ending


def _while_idle(stage: Stage) -> Ending:
    time.sleep(stage.random.uniform(0.0, 0.5))
    ending = _end(stage)
    _another(stage)
    return ending


def _in_a_stream(stage: Stage, times: int = 1) -> Ending:
    with stage.stream():
        time.sleep(stage.random.uniform(0.1, 1.0))
        ending = _end(stage, times)
    _another(stage)
    return ending


def _twice(stage: Stage) -> Ending:
    return _in_a_stream(stage, 2)


def _while_inactive(stage: Stage) -> Ending:
    assert stage.change('deactivate')
    if stage.random.random() < 0.5:
        assert stage.change('cleanup')
    ending = _end(stage)
    _another(stage)
    return ending


def _after_shutdown(stage: Stage) -> Ending:
    """The transition of that name: the node is there, and does nothing any more."""
    with stage.stream():
        time.sleep(stage.random.uniform(0.0, 0.3))
        stage.change('shutdown')
        ending = _end(stage)
    _another(stage)
    return ending


def _in_a_transition(stage: Stage) -> Ending:
    """While the network is loaded for the second time, or the worker is stopped."""
    with stage.stream():
        assert stage.change('deactivate')
        assert stage.change('cleanup')
        stage.begin_change('configure')
        time.sleep(stage.random.uniform(0.0, 2.0))
        ending = _end(stage)
    _another(stage)
    return ending


def _killed(stage: Stage) -> None:
    """As by the kernel, when memory is short."""
    with stage.stream():
        time.sleep(stage.random.uniform(0.0, 0.5))
        stage.node.kill()
    _another(stage)


FAULTS = (
    Fault('signal while the node starts', _while_it_starts, is_exact=False, compiles=True),
    Fault('signal while the node is idle', _while_idle, is_exact=False, compiles=True),
    Fault('signal in a stream', _in_a_stream, is_exact=False, compiles=True),
    Fault('two signals in a stream', _twice, is_exact=False, compiles=True),
    Fault('signal while inactive or unconfigured', _while_inactive, is_exact=False, compiles=True),
    Fault('signal after the shutdown transition', _after_shutdown, is_exact=False, compiles=True),
    Fault('signal in a transition', _in_a_transition, is_exact=False, compiles=True),
    Fault('node killed', _killed, is_exact=False, compiles=True),
)
