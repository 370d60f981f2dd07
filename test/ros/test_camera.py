"""A node with two cameras, as its users meet it: a process of its own, real messages over DDS."""

from __future__ import annotations

from collections.abc import Iterator
import json

from diagnostic_msgs.msg import DiagnosticStatus
import pytest

pytest.importorskip('rclpy')

from peer import LATCHED, Peer, values_of
from running_node import NODE, NodeProcess, SetLive, wait_for
from std_msgs.msg import String
from std_srvs.srv import SetBool
from stream import Stream

pytestmark = pytest.mark.dds
INTERVAL = 4


class Cameras:
    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.front = Stream(peer, NODE, 'front', (64, 96))
        self.rear = Stream(peer, NODE, 'rear', (48, 64))
        self.diagnostics = self.front.diagnostics

    def both(self) -> tuple[Stream, Stream]:
        return self.front, self.rear

    def counted(self, name: str) -> list[int]:
        """A counter of both, from diagnostics that come from now on."""
        self.diagnostics.next('model')
        return [stream.count(name) for stream in self.both()]


def settle(stream: Stream) -> None:
    """Wait until every mask is counted: the node publishes it before."""
    wait_for(lambda: stream.count('frames_answered') == len(stream.masks), 'all to be counted')


@pytest.fixture(scope='module')
def cameras(peer: Peer) -> Iterator[Cameras]:
    with peer.configured(cameras=['front', 'rear'], keyframe_interval=INTERVAL, backend='torch'):
        yield Cameras(peer)


def test_each_image_is_answered_on_its_own_camera_s_topic(cameras: Cameras) -> None:
    for stream in cameras.both() * 3:
        mask = stream.ask()
        assert mask.header.frame_id == stream.camera
        assert (mask.height, mask.width) == stream.size
    for stream in cameras.both():
        assert {mask.header.frame_id for mask in stream.masks} == {stream.camera}


def test_what_a_camera_sends_is_counted_for_it(cameras: Cameras) -> None:
    """Answers, and what a burst replaces; the other camera's counters stand still."""
    cameras.diagnostics.next('model')
    (_, before), answered = cameras.counted('frames_received'), len(cameras.front.masks)
    dropped = cameras.counted('dropped_')
    for _ in range(60):
        cameras.front.send(cameras.front.image())
    cameras.front.ask()

    def is_all_counted() -> bool:
        gone = cameras.front.count('dropped_') - dropped[0]
        return gone + len(cameras.front.masks) - answered == 61

    wait_for(is_all_counted, 'every frame to be answered or counted')
    for stream in cameras.both():
        images = cameras.diagnostics.values(stream.task('images'))
        assert images['topic'] == f'/segmentation/{stream.camera}/image'
        settle(stream)
    assert cameras.rear.count('dropped_') == dropped[1]
    assert cameras.rear.count('frames_received') == before


def test_keyframes_take_turns(cameras: Cameras) -> None:
    cameras.front.reset()  # of the node, so both
    found: dict[str, list[str]] = {'front': [], 'rear': []}
    for _ in range(2 * INTERVAL):
        for stream in cameras.both():
            found[stream.camera].append(stream.ask_timing()['reason'])
    assert found['front'] == ['reset', '', '', '', 'interval', '', '', '']
    assert found['rear'] == ['reset', '', 'interval', '', '', '', 'interval', '']


def test_another_interval_is_used_from_the_next_frame_on(
    cameras: Cameras, set_live: SetLive
) -> None:
    set_live(keyframe_interval=2)
    for stream in cameras.both():
        reasons = [stream.ask_timing()['reason'] for _ in range(6)]
        assert reasons[-4:] in (['', 'interval'] * 2, ['interval', ''] * 2)
    assert values_of(cameras.diagnostics.next('model'))['keyframe_interval'] == '2'


def test_a_silent_camera_does_not_stall_the_other(cameras: Cameras, set_live: SetLive) -> None:
    set_live(no_image_warning_s=0.5)

    def is_told() -> bool:
        cameras.front.ask()
        return cameras.diagnostics.newest('rear images').level == DiagnosticStatus.WARN

    wait_for(is_told, 'a warning of the silent camera')
    assert '/segmentation/rear/image' in cameras.diagnostics.newest('rear images').message
    assert cameras.diagnostics.newest('front images').level == DiagnosticStatus.OK
    set_live(no_image_warning_s=60.0)
    cameras.diagnostics.wait_for_level('rear images', DiagnosticStatus.OK)
    cameras.rear.ask()


def test_a_bad_image_is_an_error_of_its_camera(cameras: Cameras, node: NodeProcess) -> None:
    cameras.rear.send(cameras.rear.image(encoding='jpeg'))
    cameras.diagnostics.wait_for_level('rear images', DiagnosticStatus.ERROR)
    node.wait_for_log('rear: refused an image: `encoding` must be one of')
    assert cameras.diagnostics.newest('front images').level != DiagnosticStatus.ERROR
    cameras.rear.ask()
    cameras.diagnostics.wait_for_level('rear images', DiagnosticStatus.OK)


def test_pausing_counts_images_of_every_camera(cameras: Cameras) -> None:
    before = cameras.counted('dropped_disabled')
    assert cameras.peer.call(SetBool, f'{NODE}/enable', data=False).success
    for stream in cameras.both():
        stream.send(stream.image())
    wait_for(
        lambda: [s.count('dropped_disabled') for s in cameras.both()] == [n + 1 for n in before],
        'a frame of each to be counted',
    )
    assert cameras.peer.call(SetBool, f'{NODE}/enable', data=True).success
    assert [stream.ask_timing()['reason'] for stream in cameras.both()] == ['reset', 'reset']


def test_every_camera_has_labels(cameras: Cameras) -> None:
    for stream in cameras.both():
        received = cameras.peer.listen(String, f'{stream.topics}/labels', LATCHED)
        wait_for(lambda received=received: received, 'labels')
        assert len(json.loads(received[0].data)) == 11


def test_no_topic_is_without_a_camera_s_name(cameras: Cameras) -> None:
    topics = {name for name, _ in cameras.peer.get_topic_names_and_types()}
    assert {'/segmentation/front/overlay', f'{NODE}/rear/debug/cyclic_time_ms'} <= topics
    assert not topics & {'/segmentation/image', '/segmentation/mask', f'{NODE}/timing'}


def test_cameras_are_named_while_unconfigured(cameras: Cameras) -> None:
    peer = cameras.peer
    refused = peer.try_to_set(NODE, cameras=['left'])
    assert not refused.successful
    assert 'clean up the node first' in refused.reason
    settle(cameras.front)
    answered = cameras.front.count('frames_answered')
    with peer.configured(cameras=['front', 'left']):
        left = Stream(peer, NODE, 'left', (32, 40))
        assert left.ask_timing()['reason'] in ('', 'interval')
        cameras.diagnostics.next('model')
        assert cameras.front.count('frames_answered') == answered
        assert all('rear' not in s.name for s in cameras.diagnostics.messages[-1].status)
