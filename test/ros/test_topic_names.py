"""Which topics a camera of the node takes and gives, remapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip('rclpy')

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from dcfm_ros.ros.camera import Camera
from dcfm_ros.ros.frame_slot import FrameSlot
from dcfm_ros.ros.parameters.segmentation import NodeParameters

ENGINE: Any = SimpleNamespace(net=SimpleNamespace(class_names=('sky',), palette=((1, 2, 3),)))


@contextmanager
def topics_of(*remappings: str, name: str = '', **values: Any) -> Iterator[dict[str, set[str]]]:
    """What a listening camera in namespace /s subscribes to and publishes."""
    arguments = [text for rule in remappings for text in ('-r', rule)]
    context = Context()
    rclpy.init(args=['--ros-args', *arguments], context=context)
    node = Node('node', context=context, namespace='/s')
    camera = Camera(node, name, lambda: NodeParameters(**values))
    try:
        camera.advertise(ENGINE, ENGINE.net.palette, None)
        camera.listen(FrameSlot())
        yield {
            'in': {s.topic_name for s in node.subscriptions},
            'out': {p.topic_name for p in node.publishers},
        }
    finally:
        camera.stop()
        camera.withdraw()
        node.destroy_node()
        context.try_shutdown()


def test_topics_are_in_the_namespace_with_the_name_of_the_camera() -> None:
    with topics_of(name='front', publish_camera_info=True) as topics:
        assert topics['in'] == {'/s/front/image', '/s/front/camera_info'}
        assert {'/s/front/mask', '/s/front/mask/compressed', '/s/node/front/timing'} <= topics[
            'out'
        ]


def test_mask_may_have_the_name_that_the_image_had() -> None:
    """Were it remapped twice, the node would send masks to its camera's topic."""
    with topics_of('image:=/camera/image_raw', 'mask:=image') as topics:
        assert topics['in'] == {'/camera/image_raw'}
        assert {'/s/image', '/s/image/compressed'} <= topics['out']
        assert '/camera/image_raw' not in topics['out']


def test_cameras_may_change_names() -> None:
    with topics_of(
        'front/image:=/s/rear/image', 'rear/image:=/s/front/image', name='rear'
    ) as all_:
        assert all_['in'] == {'/s/front/image'}


@pytest.mark.parametrize('image', ['/camera/image_raw', '/camera/image_raw/compressed'])
def test_compressed_images_lie_beside_the_raw_ones(image: str) -> None:
    with topics_of(f'image:={image}', image_transport='compressed') as topics:
        assert topics['in'] == {'/camera/image_raw/compressed'}
