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
    """Run the node as its own process, on this host only.

    The process ends with the body; its output goes to `log`.

    Args:
        parameters: Of the node.
        log: File to write.
        build: Root of the repository that it is run from; None: the package that this is.

    Raises:
        ValueError: If the node would refuse a parameter.
    """
    settle(parameters, NodeParameters)
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    # A domain of its own keeps away from a robot's topics on this host.
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    arguments = [sys.executable, '-m', 'dcfm_ros.node', '--ros-args']
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
