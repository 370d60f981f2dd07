"""A real node in its own process and a peer that talks to it over DDS, for the node tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.ros.messages import array_to_image, ns_to_stamp

os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
WAIT_S = 120.0
"""For what is sure to come; long, since the machine may be busy."""


def make_checkpoint(path: Path) -> Path:
    import torch

    from dcfm_ros.models.checkpoint import save_checkpoint
    from dcfm_ros.models.config import DCFMConfig
    from dcfm_ros.models.dcfm import DCFM

    torch.manual_seed(0)
    net = DCFM(DCFMConfig(backbone='timm:mobilenetv4_conv_small', num_classes=11))
    save_checkpoint(path, net, {'image_height': 96})
    return path


class NodeProcess:
    """`python -m dcfm_ros.node` and what it has logged."""

    program: tuple[str, ...] = ('-m', 'dcfm_ros.node')

    def __init__(self, log: Path, *ros_args: str, **parameters: object) -> None:
        arguments = [sys.executable, *self.program, '--ros-args', *ros_args]
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        self._log = log
        with log.open('wb') as file:
            self._process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding='utf-8', errors='replace')

    def wait_for_log(self, text: str) -> None:
        wait_for(lambda: text in self.log, f'{text!r} in the log')

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
def running_node(log: Path, *ros_args: str, **parameters: object) -> Iterator[NodeProcess]:
    process = NodeProcess(log, *ros_args, **parameters)
    try:
        yield process
    finally:
        process.stop()


def wait_for(condition: Callable[[], object], what: str, pause_s: float = 0.01) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f'waited {WAIT_S:.0f} s for {what}')
        time.sleep(pause_s)


class Peer(Node):
    """Publishes, listens and calls services; a thread of its own spins it."""

    def __init__(self, context: Context) -> None:
        super().__init__('peer', context=context, use_global_arguments=False)
        self._stamp_ns = time.time_ns()

    def listen(self, kind: Any, topic: str, qos: QoSProfile | int = 100) -> list[Any]:
        """A list that fills with the messages that come."""
        received: list[Any] = []
        self.create_subscription(kind, topic, received.append, qos)
        wait_for(lambda: self.count_publishers(topic), f'a publisher of {topic}')
        return received

    def connect(self, topic: str = '/segmentation/image', qos: QoSProfile | int = 10) -> Any:
        publisher = self.create_publisher(Image, topic, qos)
        wait_for(publisher.get_subscription_count, f'a subscription of {topic}')
        return publisher

    def call(self, kind: Any, name: str, **fields: Any) -> Any:
        client = self.create_client(kind, name)
        assert client.wait_for_service(WAIT_S), f'no service {name}'
        future = client.call_async(kind.Request(**fields))
        wait_for(future.done, f'an answer of {name}')
        self.destroy_client(client)
        return future.result()

    def image(self, rows: int = 96, columns: int = 128, **fields: Any) -> Image:
        """An rgb8 image with a stamp of its own, and some fields set otherwise."""
        self._stamp_ns += 10_000_001
        header = Header(stamp=ns_to_stamp(self._stamp_ns), frame_id='camera_optical_frame')
        pixels = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), np.uint8)
        message = array_to_image(pixels, 'rgb8', header)
        for name, value in fields.items():
            setattr(message, name, value)
        return message


def set_parameter(peer: Peer, node: str, name: str, value: object) -> Any:
    kinds = {
        str: (ParameterType.PARAMETER_STRING, 'string_value'),
        int: (ParameterType.PARAMETER_INTEGER, 'integer_value'),
        float: (ParameterType.PARAMETER_DOUBLE, 'double_value'),
        bool: (ParameterType.PARAMETER_BOOL, 'bool_value'),
        list: (ParameterType.PARAMETER_STRING_ARRAY, 'string_array_value'),
    }
    kind, field = kinds[type(value)]
    parameter = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
    return peer.call(SetParameters, f'{node}/set_parameters', parameters=[parameter]).results[0]


@contextmanager
def running_peer() -> Iterator[Peer]:
    context = Context()
    rclpy.init(context=context)
    peer = Peer(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(peer)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield peer
    finally:
        context.try_shutdown()
        thread.join()
        executor.shutdown()
        peer.destroy_node()
