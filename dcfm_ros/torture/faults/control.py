"""Faults of those who use a node: parameters, transitions, services, subscribers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
import signal
import sys
import time
from typing import Any

from rcl_interfaces.msg import Parameter
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter as RclpyParameter
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from dcfm_ros.ros.parameters.segmentation import NodeParameters
from dcfm_ros.ros.parameters.spec import LIVE
from dcfm_ros.torture.faults.camera import MASK
from dcfm_ros.torture.faults.process import Watched
from dcfm_ros.torture.faults.stage import Fault, Stage

_STALLED = """if True:
    import sys, rclpy
    from sensor_msgs.msg import Image

    rclpy.init()
    node = rclpy.create_node('stalled')
    node.create_subscription(Image, sys.argv[1], lambda message: print('!', flush=True), 10)
    rclpy.spin(node)
"""
_TOPICS: dict[str, Any] = {
    'mask': Image,
    'confidence': Image,
    'color_mask': Image,
    'overlay': Image,
    'mask/compressed': CompressedImage,
}
"""Of the node, that may have subscribers."""


def _parameter_storm(stage: Stage) -> None:
    """Values of all kinds for all parameters, right and wrong ones, while images come."""
    random, table = stage.random, {field.name: field for field in fields(NodeParameters)}
    before = {
        name: field.default
        for name, field in table.items()
        if field.metadata['spec'].changeable == LIVE
    }
    before |= {'keyframe_interval': 1, 'no_image_warning_s': 1.0}
    stage.camera.is_checking = False
    with stage.stream():
        for _ in range(60):
            name = random.choice([*table, 'unknown'])
            good = getattr(table.get(name), 'default', 0)
            values = [good, -1, 0, 1, 7, 1e9, 0.5, float('nan'), '', 'x', True, ['a']]
            _set(stage, {name: random.choice(values)})
    assert all(_set(stage, before)), 'parameters cannot be set back'
    stage.reset()
    stage.settle()
    stage.camera.is_checking = True


def _set(stage: Stage, values: dict[str, Any]) -> list[bool]:
    """Whether each of the values was taken."""
    parameters: list[Parameter] = [
        RclpyParameter(
            name, value=list(value) if isinstance(value, tuple) else value
        ).to_parameter_msg()
        for name, value in values.items()
    ]
    answer = stage.call(SetParameters, 'set_parameters', parameters=parameters)
    return [result.successful for result in answer.results]


def _transitions(stage: Stage) -> None:
    """Also those that the state does not allow."""
    names = ['deactivate', 'activate'] * 3 + ['configure', 'cleanup']
    with stage.stream():
        for name in stage.random.choices(names, k=12):
            stage.change(name)
        stage.activate()


def _enable_and_reset(stage: Stage) -> None:
    with stage.stream():
        for _ in range(30):
            if stage.random.random() < 0.3:
                stage.call(Trigger, 'reset')
            else:
                stage.call(SetBool, 'enable', data=stage.random.random() < 0.5)
    assert stage.call(SetBool, 'enable', data=True).success


def _subscribers(stage: Stage) -> None:
    """They come and go, on every topic."""
    camera, random = stage.camera, stage.random
    present: list[Any] = []
    with stage.stream():
        for _ in range(30):
            if present and random.random() < 0.5:
                one = present.pop(random.randrange(len(present)))
                camera.in_its_thread(lambda: camera.destroy_subscription(one))  # noqa: B023
            else:
                topic, kind = random.choice(list(_TOPICS.items()))
                name = f'/segmentation/{topic}'
                present.append(camera.create_subscription(kind, name, lambda _: None, 1))
            time.sleep(random.uniform(0.0, 0.1))
    for one in present:
        camera.in_its_thread(lambda: camera.destroy_subscription(one))  # noqa: B023


@contextmanager
def _listener(stage: Stage) -> Iterator[Watched]:
    """A process that has heard a mask."""
    log = stage.folder / 'faults_listener.log'
    process = Watched([sys.executable, '-c', _STALLED, MASK], log)
    try:
        with stage.stream():
            stage.wait_for(lambda: '!' in process.output, 'a mask in another process')
        yield process
    finally:
        process.kill()


def _stalled_subscriber(stage: Stage) -> None:
    """It is stopped, as in a debugger, and goes on later or never."""
    with _listener(stage) as process:
        process.send(signal.SIGSTOP)
        with stage.stream():
            time.sleep(stage.random.uniform(1.0, 3.0))
        if stage.random.random() < 0.5:
            process.send(signal.SIGCONT)


FAULTS = (
    Fault('parameter storm', _parameter_storm),
    Fault('transitions at random', _transitions, is_exact=False, compiles=True),
    Fault('enable and reset at random', _enable_and_reset),
    Fault('subscribers come and go', _subscribers),
    Fault('subscriber that stalls, killed', _stalled_subscriber),
)
