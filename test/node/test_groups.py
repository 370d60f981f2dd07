"""Groups of classes and own colours, as the listeners of a real node see them."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from peer import LATCHED, Peer, answer_to
from running_node import CLOUD, NodeProcess, running_node, wait_for
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from stream import Stream

from dcfm_ros.cloud.points import POINT
from dcfm_ros.ros.messages import array_to_image

pytestmark = pytest.mark.dds
NODE = '/grouped/segmentation_node'
GROUPS = 'even: [class 10, class 0, class 2, class 4, class 6, class 8]\nodd: [class 1, class 3]\n'
COLOURS = '3: {name: class 10, rgb: [1, 2, 3]}\n'


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('files')
    (folder / 'groups.yaml').write_text(GROUPS)
    (folder / 'colours.yaml').write_text(COLOURS)
    (folder / 'wrong.yaml').write_text('person: [human]')
    return folder


@pytest.fixture(scope='module')
def node(
    checkpoint: Path, files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    arguments = ('-r', '__ns:=/grouped', '-r', 'rear/masks/even:=/camera_0/mask/image')
    with running_node(
        tmp_path_factory.mktemp('grouped') / 'log',
        *arguments,
        checkpoint=checkpoint,
        cameras='[front, rear]',
        groups_file=files / 'groups.yaml',
        palette_file=files / 'colours.yaml',
        cpu_threads=1,
    ) as process:
        yield process


@pytest.fixture(scope='module')
def front(peer: Peer) -> Stream:
    return Stream(peer, NODE, 'front')


def ids_of(message: Image) -> NDArray[Any]:
    kind = {'mono8': np.uint8, '16SC1': '<i2'}[message.encoding]
    ids = np.frombuffer(bytes(message.data), kind).reshape(message.height, message.width)
    assert message.step == ids.strides[0]
    return ids


def labels_on(peer: Peer, topic: str) -> Any:
    received = peer.listen(String, topic, LATCHED)
    wait_for(lambda: received, topic)
    return json.loads(received[0].data)


def test_masks_of_groups_follow_the_mask(front: Stream) -> None:
    topics = ('mask/int16', 'groups/mask', 'groups/mask/int16', 'masks/even', 'masks/odd')
    heard = {topic: front.output(topic) for topic in topics}
    mask = front.ask()
    ids, found = ids_of(mask), {}
    for topic in topics:
        message = answer_to(heard[topic], mask.header)
        assert message.header == mask.header
        found[topic] = ids_of(message)
    is_even, is_odd = ids % 2 == 0, np.isin(ids, (1, 3))
    expected = np.where(is_even, 0, np.where(is_odd, 1, 255))
    assert len(np.unique(ids)) > 1
    assert (found['mask/int16'] == ids).all()
    assert (found['groups/mask'] == expected).all()
    assert (found['groups/mask/int16'] == np.where(expected == 255, -1, expected)).all()
    assert (found['masks/even'] == 255 * is_even).all()
    assert (found['masks/odd'] == 255 * is_odd).all()


def test_names_and_colours_of_groups_are_latched(peer: Peer, front: Stream) -> None:
    labels = labels_on(peer, f'{front.topics}/labels')
    assert labels['10']['rgb'] == [1, 2, 3]
    assert labels_on(peer, f'{front.topics}/groups/labels') == {
        '0': {'name': 'even', 'rgb': [1, 2, 3]},
        '1': {'name': 'odd', 'rgb': labels['1']['rgb']},
    }


def test_own_colours_are_those_of_the_pictures(front: Stream) -> None:
    pictures = front.output('color_mask')
    mask = front.ask()
    picture = answer_to(pictures, mask.header)
    colours = np.frombuffer(bytes(picture.data), np.uint8).reshape(-1, 3)
    labels = labels_on(front.peer, f'{front.topics}/labels')
    for pixel, colour in zip(ids_of(mask).ravel(), colours, strict=True):
        assert labels[str(pixel)]['rgb'] == colour.tolist()


def test_a_group_s_mask_has_the_topic_that_its_reader_wants(peer: Peer, front: Stream) -> None:
    rear = Stream(peer, NODE, 'rear', (48, 64))
    received = peer.listen(Image, '/camera_0/mask/image')
    wait_for(lambda: rear.ask() and received, 'a mask of the group')
    assert (received[-1].height, received[-1].width) == (48, 64)
    assert set(np.unique(ids_of(received[-1]))) <= {0, 255}


def test_a_cloud_has_groups_for_classes(peer: Peer, front: Stream, tmp_path: Path) -> None:
    remappings = ('mask:=groups/mask', 'labels:=groups/labels', '__ns:=/grouped/front')
    arguments = [text for rule in remappings for text in ('-r', rule)]
    values = {'use_confidence': 'false', 'keep_labels': '[odd]'}
    depth = np.full((96, 128), 2000, np.uint16)
    k = [100.0, 0.0, 64.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
    with running_node(tmp_path / 'log', *arguments, program=CLOUD, **values):
        infos = peer.connect('/grouped/front/depth/camera_info', 1, CameraInfo)
        infos.publish(CameraInfo(width=128, height=96, k=k))
        depths = peer.connect('/grouped/front/depth/image')
        clouds = peer.listen(PointCloud2, '/grouped/front/points')
        kept = peer.listen(PointCloud2, '/grouped/front/points/filtered')
        groups = front.output('groups/mask')

        def is_answered() -> bool:
            image = front.image()
            depths.publish(array_to_image(depth, '16UC1', image.header))
            front.ask(image)
            return bool(clouds and kept)

        wait_for(is_answered, 'clouds')
        cloud = clouds[0]
        ids = ids_of(answer_to(groups, cloud.header))
        points = np.frombuffer(cloud.data, POINT).reshape(96, 128)
        assert (points['label'] == ids).all()
        assert (np.isnan(points['z']) == (ids == 255)).all()
        filtered = np.frombuffer(kept[0].data, POINT)
        assert set(filtered['label'].tolist()) <= {1}


def test_a_wrong_file_is_a_failed_transition_with_the_reason(
    peer: Peer, front: Stream, node: NodeProcess, files: Path
) -> None:
    before = peer.get_values(NODE, 'groups_file')[0]
    peer.unconfigure(NODE)
    num_loaded = node.log.count(': loaded ')
    assert num_loaded == 1
    for name, reason in (
        ('wrong.yaml', "wrong.yaml: group person has 'human', which is no class"),
        ('none.yaml', 'No such file or directory'),
    ):
        assert peer.try_to_set(NODE, groups_file=str(files / name)).successful
        assert not peer.change(NODE, 'configure')
        node.wait_for_log(reason)
        assert peer.state(NODE) == 'unconfigured'
    assert re.search('configuring failed: .*there are class 0, class 1', node.log)
    assert node.log.count(': loaded ') == num_loaded  # the reason came before the network
    assert peer.try_to_set(NODE, groups_file=before).successful
    assert peer.change(NODE, 'configure')
    wait_for(lambda: node.log.count(': loaded ') == num_loaded + 1, 'the network')
    assert peer.change(NODE, 'activate')
    front.ask()
