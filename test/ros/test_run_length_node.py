"""run_length_node as a process: masks in, runs out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from peer import LATCHED, running_peer
from running_node import running_node, wait_for
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from dcfm_ros.masks.run_length import AUTOWARE_CLASSES, encode_runs
from dcfm_ros.ros.messages import array_to_image

pytestmark = pytest.mark.dds
NAMES = {'3': {'name': 'road', 'rgb': [0, 0, 0]}, '8': {'name': 'car', 'rgb': [0, 0, 0]}}
MASK = np.array([[3, 3, 8], [8, 8, 255]], np.uint8)
OVERRIDES = 'qos_overrides./segmentation/mask'


def test_masks_are_encoded_with_the_ids_of_autoware(tmp_path: Path) -> None:
    given = {f'{OVERRIDES}.{entity}.depth': 2 for entity in ('subscription', 'publisher')}
    program = ('-m', 'dcfm_ros.ros.run_length_node')
    with (
        running_node(tmp_path / 'log', program=program, **given) as process,
        running_peer() as peer,
    ):
        labels = peer.create_publisher(String, '/segmentation/labels', LATCHED)
        labels.publish(String(data=json.dumps(NAMES)))
        masks = peer.connect('/segmentation/mask')
        encoded = peer.listen(Image, '/segmentation/mask/rle')
        message = array_to_image(MASK, 'mono8', Header(frame_id='optical'))

        def is_answered() -> bool:
            masks.publish(Image(encoding='rgb8'))  # refused
            masks.publish(message)
            return bool(encoded)

        wait_for(is_answered, 'runs', pause_s=0.1)
        assert process.stop() == 0
    found = encoded[0]
    assert (found.header, found.encoding) == (message.header, 'mono8')
    assert (found.height, found.width, found.step) == (2, 3, 3)
    road, car = AUTOWARE_CLASSES.index('road'), AUTOWARE_CLASSES.index('vehicle')
    expected = np.array([[road, road, car], [car, car, 0]], np.uint8)
    assert bytes(found.data) == encode_runs(expected)
    # Its input is the only topic that has overrides.
    assert f'`{OVERRIDES}.publisher.depth` is ignored' in process.log
    assert f'`{OVERRIDES}.subscription.depth`' not in process.log
