"""A node with two cameras, as its users meet it: a process of its own, real messages over DDS."""

from __future__ import annotations

from collections.abc import Iterator
import json
import time
from typing import Any

import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from running_node import (
    NodeProcess,
    Peer,
    make_checkpoint,
    running_node,
    running_peer,
    set_parameter,
    wait_for,
)
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

NODE = '/segmentation/segmentation_node'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZES = {'front': (64, 96), 'rear': (48, 64)}
INTERVAL = 4


@pytest.fixture(scope='module')
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp('node')
    checkpoint = make_checkpoint(folder / 'tiny.safetensors')
    parameters = {'cameras': '[front, rear]', 'keyframe_interval': INTERVAL, 'backend': 'torch'}
    with running_node(
        folder / 'log', checkpoint=checkpoint, device='cpu', cpu_threads=1, **parameters
    ) as process:
        yield process


class Stream:
    """One camera of the node, seen from outside."""

    def __init__(self, peer: Peer, name: str) -> None:
        self.name = name
        self.peer = peer
        self.masks = peer.listen(Image, f'/segmentation/{name}/mask')
        self.timings = peer.listen(DiagnosticArray, f'{NODE}/{name}/timing')
        self.images = peer.connect(f'/segmentation/{name}/image')
        self.ask()  # connected in both directions, once this is answered

    def image(self, **fields: Any) -> Image:
        message = self.peer.image(*SIZES[self.name], **fields)
        message.header.frame_id = self.name
        return message

    def ask(self) -> Image:
        """Send an image and return its mask."""
        message = self.image()
        self.images.publish(message)
        wait_for(lambda: any(m.header == message.header for m in self.masks), 'a mask')
        return next(m for m in self.masks if m.header == message.header)

    def ask_timing(self) -> dict[str, str]:
        """Send an image and return what ~/<name>/timing says of it."""
        header = self.ask().header
        wait_for(lambda: any(m.header == header for m in self.timings), 'a timing')
        (status,) = next(m for m in self.timings if m.header == header).status
        assert status.name == f'{NODE}: {self.name} frame'
        return values_of(status)


class Cameras:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.diagnostics = peer.listen(DiagnosticArray, '/diagnostics')
        self.front, self.rear = Stream(peer, 'front'), Stream(peer, 'rear')

    def both(self) -> tuple[Stream, Stream]:
        return self.front, self.rear

    def status(self, task: str) -> DiagnosticStatus:
        """The next status of a task."""
        seen = len(self.diagnostics)
        wait_for(lambda: len(self.diagnostics) > seen, 'diagnostics')
        return next(s for s in self.diagnostics[-1].status if s.name == f'{NODE}: {task}')

    def wait_for_level(self, task: str, level: bytes) -> DiagnosticStatus:
        wait_for(lambda: self.status(task).level == level, f'{task} at level {level!r}')
        return self.status(task)


@pytest.fixture(scope='module')
def cameras(node: NodeProcess) -> Iterator[Cameras]:
    with running_peer() as peer:
        yield Cameras(peer)


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}


def change(peer: Peer, name: str) -> bool:
    transition = Transition(label=name)
    return bool(peer.call(ChangeState, f'{NODE}/change_state', transition=transition).success)


def test_each_image_is_answered_on_its_own_camera_s_topic(cameras: Cameras) -> None:
    for stream in cameras.both() * 3:
        mask = stream.ask()
        assert mask.header.frame_id == stream.name
        assert (mask.height, mask.width) == SIZES[stream.name]
    for stream in cameras.both():
        assert {mask.header.frame_id for mask in stream.masks} == {stream.name}


def test_frames_are_counted_for_their_camera(cameras: Cameras) -> None:
    cameras.front.ask()
    before = {s.name: values_of(cameras.status(f'{s.name} images')) for s in cameras.both()}
    for _ in range(5):
        cameras.front.ask()
    cameras.rear.ask()
    for stream, sent in ((cameras.front, 5), (cameras.rear, 1)):
        images = values_of(cameras.status(f'{stream.name} images'))
        masks = values_of(cameras.status(f'{stream.name} masks'))
        assert int(images['frames_received']) == sent + int(before[stream.name]['frames_received'])
        assert images['topic'] == f'/segmentation/{stream.name}/image'
        assert int(masks['frames_answered']) == len(stream.masks)


def test_what_a_burst_replaces_is_counted_for_its_camera(cameras: Cameras) -> None:
    def lost(stream: Stream) -> int:
        values = values_of(cameras.status(f'{stream.name} images'))
        return sum(int(value) for name, value in values.items() if name.startswith('dropped_'))

    counts, answered = [lost(s) for s in cameras.both()], len(cameras.front.masks)
    for _ in range(60):
        cameras.front.images.publish(cameras.front.image())
    cameras.front.ask()
    wait_for(
        lambda: lost(cameras.front) - counts[0] + len(cameras.front.masks) - answered == 61,
        'every frame to be answered or counted',
    )
    assert lost(cameras.rear) == counts[1]


def test_keyframes_take_turns(cameras: Cameras) -> None:
    assert cameras.peer.call(Trigger, f'{NODE}/reset').success
    found: dict[str, list[str]] = {'front': [], 'rear': []}
    for _ in range(2 * INTERVAL):
        for stream in cameras.both():
            found[stream.name].append(stream.ask_timing()['reason'])
    assert found['front'] == ['reset', '', '', '', 'interval', '', '', '']
    assert found['rear'] == ['reset', '', 'interval', '', '', '', 'interval', '']


def test_another_interval_is_used_from_the_next_frame_on(cameras: Cameras) -> None:
    assert set_parameter(cameras.peer, NODE, 'keyframe_interval', 2).successful
    try:
        for stream in cameras.both():
            reasons = [stream.ask_timing()['reason'] for _ in range(6)]
            assert reasons[-4:] in (['', 'interval'] * 2, ['interval', ''] * 2)
        assert values_of(cameras.status('model'))['keyframe_interval'] == '2'
    finally:
        assert set_parameter(cameras.peer, NODE, 'keyframe_interval', INTERVAL).successful


def test_a_silent_camera_does_not_stall_the_other(cameras: Cameras) -> None:
    assert set_parameter(cameras.peer, NODE, 'no_image_warning_s', 0.5).successful
    try:
        end_s = time.monotonic() + 2.0
        while time.monotonic() < end_s:
            cameras.front.ask()
        status = cameras.wait_for_level('rear images', DiagnosticStatus.WARN)
        assert '/segmentation/rear/image' in status.message
        assert set_parameter(cameras.peer, NODE, 'no_image_warning_s', 60.0).successful
        cameras.wait_for_level('rear images', DiagnosticStatus.OK)
        cameras.rear.ask()
    finally:
        assert set_parameter(cameras.peer, NODE, 'no_image_warning_s', 5.0).successful


def test_a_bad_image_is_an_error_of_its_camera(cameras: Cameras, node: NodeProcess) -> None:
    cameras.rear.images.publish(cameras.rear.image(encoding='jpeg'))
    cameras.wait_for_level('rear images', DiagnosticStatus.ERROR)
    node.wait_for_log('rear: refused an image: `encoding` must be one of')
    assert cameras.status('front images').level != DiagnosticStatus.ERROR
    cameras.rear.ask()
    cameras.wait_for_level('rear images', DiagnosticStatus.OK)


def test_pausing_counts_images_of_every_camera(cameras: Cameras) -> None:
    before = [
        int(values_of(cameras.status(f'{s.name} images'))['dropped_disabled'])
        for s in cameras.both()
    ]
    assert cameras.peer.call(SetBool, f'{NODE}/enable', data=False).success
    for stream in cameras.both():
        stream.images.publish(stream.image())
    for stream, count in zip(cameras.both(), before, strict=True):
        task = f'{stream.name} images'
        wait_for(
            lambda task=task, count=count: (
                int(values_of(cameras.status(task))['dropped_disabled']) == count + 1
            ),
            'a frame to be counted',
        )
    assert cameras.peer.call(SetBool, f'{NODE}/enable', data=True).success
    assert [s.ask_timing()['reason'] for s in cameras.both()] == ['reset', 'reset']


def test_every_camera_has_labels(cameras: Cameras) -> None:
    for stream in cameras.both():
        received = cameras.peer.listen(String, f'/segmentation/{stream.name}/labels', LATCHED)
        wait_for(lambda received=received: received, 'labels')
        assert len(json.loads(received[0].data)) == 11


def test_no_topic_is_without_a_camera_s_name(cameras: Cameras) -> None:
    topics = {name for name, _ in cameras.peer.get_topic_names_and_types()}
    assert {'/segmentation/front/overlay', f'{NODE}/rear/debug/cyclic_time_ms'} <= topics
    assert not topics & {'/segmentation/image', '/segmentation/mask', f'{NODE}/timing'}


def test_cameras_are_named_while_unconfigured(cameras: Cameras) -> None:
    peer = cameras.peer
    refused = set_parameter(peer, NODE, 'cameras', ['left'])
    assert not refused.successful
    assert 'clean up the node first' in refused.reason
    answered = values_of(cameras.status('front masks'))['frames_answered']
    assert change(peer, 'deactivate')
    assert change(peer, 'cleanup')
    assert set_parameter(peer, NODE, 'cameras', ['front', 'left']).successful
    assert change(peer, 'configure')
    assert change(peer, 'activate')
    SIZES['left'] = (32, 40)
    left = Stream(peer, 'left')
    assert left.ask_timing()['reason'] in ('', 'interval')
    assert values_of(cameras.status('front masks'))['frames_answered'] == answered
    assert all('rear' not in status.name for status in cameras.diagnostics[-1].status)
