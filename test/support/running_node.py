"""Real nodes, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

SetLive = Callable[..., None]
"""Sets parameters by keyword, see the fixture `set_live`."""
NODE = '/segmentation/segmentation_node'
SEGMENTATION = ('-m', 'dcfm_ros.node')
CLOUD = ('-m', 'dcfm_ros.cloud.node')
GROUND = ('-m', 'dcfm_ros.ground.node')
WAIT_S = 60.0
"""For what is sure to come; long, since the machine may be busy."""


def wait_for(condition: Callable[[], object], what: str, pause_s: float = 0.01) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f'waited {WAIT_S:.0f} s for {what}')
        time.sleep(pause_s)


def make_checkpoint(path: Path) -> Path:
    """A small network with random weights."""
    import torch

    from dcfm_ros.models.checkpoint import save_checkpoint
    from dcfm_ros.models.config import DCFMConfig
    from dcfm_ros.models.dcfm import DCFM

    torch.manual_seed(0)
    net = DCFM(DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=11))
    save_checkpoint(path, net, {'image_height': 96})
    return path


class NodeProcess:
    """A Python program that takes ROS arguments, and what it has logged."""

    def __init__(
        self,
        log: Path,
        *ros_args: str,
        program: tuple[str, ...] = SEGMENTATION,
        **parameters: object,
    ) -> None:
        arguments = [sys.executable, *program, '--ros-args', *ros_args]
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        self.domain = int(os.environ['ROS_DOMAIN_ID'])
        self._log = log
        with log.open('wb') as file:
            self._process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(encoding='utf-8', errors='replace')

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for_log(self, text: str) -> None:
        def found() -> bool:
            assert text in self.log or self.is_running, self.log
            return text in self.log

        wait_for(found, f'{text!r} in the log')

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self._process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        try:
            return self._process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


@contextmanager
def running_node(
    log: Path, *ros_args: str, program: tuple[str, ...] = SEGMENTATION, **parameters: object
) -> Iterator[NodeProcess]:
    process = NodeProcess(log, *ros_args, program=program, **parameters)
    try:
        yield process
    finally:
        process.stop()
