"""Masks as runs, with the ids of Autoware."""

from __future__ import annotations

import json
import os
from pathlib import Path
import struct

import numpy as np
from numpy.typing import NDArray
import pytest

from dcfm_ros.masks.run_length import AUTOWARE_CLASSES, autoware_ids, encode_runs

ROAD, CAR = AUTOWARE_CLASSES.index('road'), AUTOWARE_CLASSES.index('vehicle')


def decode(data: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """As a consumer in C++ does it: byte and int, byte and int, ..."""
    pixels: list[int] = []
    for value, length in struct.iter_unpack('<Bi', data):
        pixels += [value] * length
    return np.array(pixels, np.uint8).reshape(shape)


def test_runs_go_on_in_the_next_row() -> None:
    mask = np.array([[1, 1, 2], [2, 2, 0]], np.uint8)
    assert encode_runs(mask) == b'\1\2\0\0\0' + b'\2\3\0\0\0' + b'\0\1\0\0\0'


@pytest.mark.parametrize('first', [0, 255])
def test_mask_of_one_class_is_one_run(first: int) -> None:
    data = encode_runs(np.full((480, 640), first, np.uint8))
    assert data == struct.pack('<Bi', first, 307200)


def test_any_mask_is_decoded_again() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (37, 41), np.uint8)
    assert np.array_equal(decode(encode_runs(mask), mask.shape), mask)
    assert np.array_equal(decode(encode_runs(mask[:, ::2]), (37, 21)), mask[:, ::2])


def test_classes_become_those_of_autoware() -> None:
    ids = autoware_ids({3: 'road', 8: 'car', 9: 'cat'}, ['road:road', 'car:vehicle', 'dog:bike'])
    assert (ROAD, CAR) == (9, 7)
    assert ids[[3, 8, 9, 255]].tolist() == [9, 7, 0, 0]


@pytest.mark.parametrize('entry', ['road', 'road:street', ''])
def test_entry_without_a_class_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=f'`class_map` must have entries .*got {entry!r}'):
        autoware_ids({0: 'road'}, [entry])


def test_node_encodes_masks(tmp_path: Path) -> None:
    pytest.importorskip('rclpy')
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from running_node import NodeProcess, running_peer, wait_for
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header, String

    from dcfm_ros.ros.messages import array_to_image

    class RunLengthProcess(NodeProcess):
        program = ('-m', 'dcfm_ros.ros.run_length_node')

    mask = np.array([[3, 3, 8], [8, 8, 255]], np.uint8)
    names = {'3': {'name': 'road', 'rgb': [0, 0, 0]}, '8': {'name': 'car', 'rgb': [0, 0, 0]}}
    process = RunLengthProcess(tmp_path / 'log')
    try:
        with running_peer() as peer:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            labels = peer.create_publisher(String, '/segmentation/labels', qos)
            labels.publish(String(data=json.dumps(names)))
            masks = peer.connect('/segmentation/mask')
            encoded = peer.listen(Image, '/segmentation/mask/rle')
            message = array_to_image(mask, 'mono8', Header(frame_id='optical'))

            def is_answered() -> bool:
                masks.publish(Image(encoding='rgb8'))  # refused
                masks.publish(message)
                return bool(encoded)

            wait_for(is_answered, 'runs', pause_s=0.1)
            found = encoded[0]
            assert (found.header, found.encoding) == (message.header, 'mono8')
            assert (found.height, found.width, found.step) == (2, 3, 3)
            decoded = decode(bytes(found.data), (2, 3))
            assert decoded.tolist() == [[ROAD, ROAD, CAR], [CAR, CAR, 0]]
    finally:
        assert process.stop() == 0


def test_node_knows_the_overrides_of_its_input_only(tmp_path: Path) -> None:
    pytest.importorskip('rclpy')
    from running_node import NodeProcess

    class RunLengthProcess(NodeProcess):
        program = ('-m', 'dcfm_ros.ros.run_length_node')

    mask = 'qos_overrides./segmentation/mask'
    given = {f'{mask}.{entity}.depth': 2 for entity in ('subscription', 'publisher')}
    process = RunLengthProcess(tmp_path / 'log', **given)
    try:
        process.wait_for_log(f'`{mask}.publisher.depth` is ignored')
        assert f'`{mask}.subscription.depth`' not in process.log
    finally:
        assert process.stop() == 0
