"""The node as a process of its own, to be measured or shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from dcfm_ros.ros.parameters.rules import settle
from dcfm_ros.ros.parameters.segmentation import NodeParameters

_STOP_S = 15.0


@contextmanager
def node_process(
    parameters: Mapping[str, Any], log: Path, build: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run segmentation_node as its own process, on this host only.

    The process ends with the body; its output goes to `log`.

    Args:
        parameters: Of the node.
        log: File to write.
        build: Root of the repository that it is run from; None: the package that this is.

    Raises:
        ValueError: If the node would refuse a parameter.
    """
    settle(parameters, NodeParameters)
    with ros_process('dcfm_ros.node', parameters, log, build=build) as process:
        yield process


@contextmanager
def ros_process(
    program: str,
    parameters: Mapping[str, Any],
    log: Path,
    *,
    namespace: str | None = None,
    build: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run any node of the package, as `node_process` does.

    Args:
        program: Its module.
        parameters: Of the node; not checked here.
        log: File to write.
        namespace: Of the node; None: its own.
        build: As there.
    """
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    # A domain of its own keeps away from a robot's topics on this host.
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    arguments = [sys.executable, '-m', program, '--ros-args']
    if namespace is not None:
        arguments += ['-r', f'__ns:=/{namespace}']
    for name, value in parameters.items():
        arguments += ['-p', f'{name}:={value}']
    with log.open('wb') as file:
        process = subprocess.Popen(
            arguments,
            stdout=file,
            stderr=subprocess.STDOUT,
            # `-m` looks into the working folder before anywhere else.
            cwd=build,
            env={**os.environ, 'PYTHONPATH': str(build)} if build else None,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_process(process: subprocess.Popen[bytes], log: Path) -> None:
    """Make sure that the process of a node still runs.

    Raises:
        RuntimeError: If it has ended; the message has its exit code and `log`.
    """
    if (code := process.poll()) is not None:
        raise RuntimeError(f'the node ended with exit code {code}, its log is {log}')
