"""run_length_node as a process: masks in, runs out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from domain import domain_of_its_own
from peer import LATCHED, Diagnostics, running_peer
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


def test_every_mask_is_answered_or_counted_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    class_map = "['road:road', 'car:vehicle', 'tram:vehicle']"
    program = ('-m', 'dcfm_ros.ros.run_length_node')
    with (
        domain_of_its_own(),  # labels are latched, and not to be those of the test before
        running_node(tmp_path / 'log', program=program, class_map=class_map) as process,
        running_peer() as peer,
    ):
        diagnostics = Diagnostics(peer, '/segmentation/run_length_node')
        diagnostics.wait_for_message('masks', 'no labels received')
        labels = peer.create_publisher(String, '/segmentation/labels', LATCHED)
        labels.publish(String(data='{'))
        diagnostics.wait_for_message('masks', '`labels` must be ')
        masks = peer.connect('/segmentation/mask')
        encoded = peer.listen(Image, '/segmentation/mask/rle')
        unset = array_to_image(MASK, 'mono8', Header())  # a stamp of 0
        masks.publish(unset)
        diagnostics.wait_for_value('masks', 'masks_without_labels', '1')
        labels.publish(String(data=json.dumps(NAMES)))
        status = diagnostics.wait_for_message('masks', 'tram:vehicle')
        assert status.level == DiagnosticStatus.WARN
        masks.publish(Image(encoding='rgb8'))
        diagnostics.wait_for_message('masks', 'bad mask: `encoding` of mask must be mono8')
        for _ in range(3):  # equal stamps
            masks.publish(unset)
        wait_for(lambda: len(encoded) == 3, 'runs of each mask')
        diagnostics.wait_for_message('masks', 'tram:vehicle')  # not bad for ever
        diagnostics.wait_for_value('masks', 'masks_encoded', '3')
        values = diagnostics.values('masks')
        counts = {key: int(value) for key, value in values.items() if key.startswith('masks_')}
        assert counts == {
            'masks_received': 5,
            'masks_encoded': 3,
            'masks_refused': 1,
            'masks_without_labels': 1,
            'masks_lost': 0,
        }
        labels.publish(String(data='[]'))  # what the ids mean from now on is not known
        diagnostics.wait_for_message('masks', '`labels` must be ')
        masks.publish(unset)
        diagnostics.wait_for_value('masks', 'masks_without_labels', '2')
        assert len(encoded) == 3
        assert process.stop() == 0
