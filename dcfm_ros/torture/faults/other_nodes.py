"""Faults of the nodes that take masks: broken messages, and signals at random moments."""

from __future__ import annotations

from functools import partial
import signal
import sys
import time

from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.ros.camera_topics import LATCHED
from dcfm_ros.torture.faults.process import Ending, Watched
from dcfm_ros.torture.faults.stage import Fault, Stage

_NODES: dict[str, tuple[str, ...]] = {
    'cloud.node': (),
    'ground.node': ('camera_height:=1.0',),
    'ros.run_length_node': (),
}
"""Their modules and the parameters that they need."""
_NAMES = {
    'cloud.node': 'semantic_cloud_node',
    'ground.node': 'ground_grid_node',
    'ros.run_length_node': 'run_length_node',
}
_STARTED_S = 3.0
"""Such a node is ready within that time on a machine that does nothing else."""


def _broken_masks_and_signal(stage: Stage, module: str) -> Ending:
    """In a namespace of its own: the masks of the segmentation node are not meant."""
    camera, random = stage.camera, stage.random
    command = [sys.executable, '-m', f'dcfm_ros.{module}', '--ros-args', '-r', '__ns:=/other']
    for parameter in _NODES[module]:
        command += ['-p', parameter]
    log = stage.folder / f'faults_{module}.log'
    node = Watched(command, log)
    masks = camera.create_publisher(Image, '/other/mask', 10)
    labels = camera.create_publisher(String, '/other/labels', LATCHED)
    try:
        stage.wait_for(lambda: node.handles(signal.SIGTERM), f'{module} to handle signals')
        end_s = time.monotonic() + random.uniform(0.0, 2 * _STARTED_S)
        while time.monotonic() < end_s:
            labels.publish(String(data=random.choice(['', '{"0": 1}', _LABELS])))
            mask = camera.good(0)
            mask.encoding = random.choice(['mono8', 'mono16', 'rgb8'])
            whole = serialize_message(mask)
            masks.publish(mask)
            masks.publish(whole[: random.randrange(4, len(whole))])
            time.sleep(0.05)
        ending = node.end(random.choice([signal.SIGTERM, signal.SIGINT]))
    finally:
        if node.is_running:
            node.kill()
        camera.in_its_thread(lambda: camera.destroy_publisher(masks))
        camera.in_its_thread(lambda: camera.destroy_publisher(labels))
    assert 'Traceback' not in node.output, node.output[-2000:]
    return ending


_LABELS = ClassLabels({0: 'sky', 1: 'road'}, {0: (0, 0, 0), 1: (1, 1, 1)}).to_json()
FAULTS = tuple(
    Fault(
        f'broken masks and a signal: {name}',
        partial(_broken_masks_and_signal, module=module),
        of_node=False,
    )
    for module, name in _NAMES.items()
)
