"""The node as its users meet it: a process of its own, real messages over DDS."""

from __future__ import annotations

import array
from collections.abc import Iterator
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
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
from std_msgs.msg import Float64, Header, String
from std_srvs.srv import SetBool, Trigger

NODE = '/segmentation/segmentation_node'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp('weights') / 'tiny.safetensors')


@pytest.fixture(scope='module')
def node(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp('node') / 'log'
    with running_node(log, checkpoint=checkpoint, cpu_threads=1) as process:
        yield process


@pytest.fixture(scope='module')
def peer() -> Iterator[Peer]:
    with running_peer() as running:
        yield running


class Camera:
    """Sends images to the node and finds what comes back for them."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.masks = peer.listen(Image, '/segmentation/mask')
        self.timings = peer.listen(DiagnosticArray, f'{NODE}/timing')
        self.diagnostics = peer.listen(DiagnosticArray, '/diagnostics')
        self.images = peer.connect()
        self.ask(peer.image())  # connected in both directions, once this is answered

    def ask(self, message: Image) -> Image:
        """Send an image and return its mask."""
        self.images.publish(message)
        return self.answer(self.masks, message.header)

    def ask_timing(self, message: Image) -> dict[str, str]:
        """Send an image and return what ~/timing says of it."""
        self.images.publish(message)
        return values_of(self.answer(self.timings, message.header).status[0])

    def answer(self, received: list[Any], header: Header) -> Any:
        wait_for(lambda: any(m.header == header for m in received), f'an answer to {header}')
        return next(m for m in received if m.header == header)

    def status(self, task: str, after: int | None = None) -> DiagnosticStatus:
        """The next status of a task, counted from `after` diagnostics on."""
        seen = len(self.diagnostics) if after is None else after
        wait_for(lambda: len(self.diagnostics) > seen, 'diagnostics')
        return next(s for s in self.diagnostics[-1].status if s.name == f'{NODE}: {task}')

    def wait_for_level(self, task: str, level: bytes) -> DiagnosticStatus:
        wait_for(lambda: self.status(task, 0).level == level, f'{task} at level {level!r}')
        return self.status(task, 0)


@pytest.fixture(scope='module')
def camera(node: NodeProcess, peer: Peer) -> Camera:
    return Camera(peer)


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}


def dropped(camera: Camera, *causes: str) -> int:
    values = values_of(camera.status('images', 0))
    return sum(int(values[f'dropped_{cause}']) for cause in causes)


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'frame_id'),
    [(0, 1, ''), (1, 999_999_999, 'kamera/optisch é'), (2**31 - 1, 0, 'x' * 300)],
)
def test_mask_has_the_header_of_its_image(
    camera: Camera, sec: int, nanosec: int, frame_id: str
) -> None:
    message = camera.peer.image()
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    message.header.frame_id = frame_id
    assert camera.ask(message).header == message.header


@pytest.mark.parametrize(('height', 'width'), [(97, 131), (1, 333), (240, 33), (480, 640)])
def test_mask_has_camera_resolution_without_padding(
    camera: Camera, height: int, width: int
) -> None:
    mask = camera.ask(camera.peer.image(height, width))
    assert (mask.height, mask.width, mask.step) == (height, width, width)
    assert (mask.encoding, mask.is_bigendian) == ('mono8', 0)
    assert len(mask.data) == height * width
    assert max(mask.data) < 11


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_colour_encodings_give_the_same_mask(camera: Camera, encoding: str) -> None:
    message = camera.peer.image()
    rgb = np.frombuffer(message.data, np.uint8).reshape(96, 128, 3)
    pixels = rgb if encoding.startswith('rgb') else rgb[..., ::-1]
    if 'a' in encoding:
        pixels = np.dstack([pixels, np.full((96, 128), 7, np.uint8)])
    rows = np.pad(pixels.reshape(96, -1), ((0, 0), (0, 5)), constant_values=99)
    camera.peer.call(Trigger, f'{NODE}/reset')
    expected = camera.ask(message)
    camera.peer.call(Trigger, f'{NODE}/reset')
    padded = camera.peer.image(encoding=encoding, step=rows.shape[1])
    padded.data = array.array('B', rows.tobytes())
    assert camera.ask(padded).data == expected.data


@pytest.mark.parametrize('encoding', ['mono8', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'])
def test_other_encodings_are_answered(camera: Camera, encoding: str) -> None:
    step = 128 * (1 if encoding == 'mono8' else 2)
    mask = camera.ask(camera.peer.image(encoding=encoding, step=step))
    assert (mask.height, mask.width) == (96, 128)


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'encoding': 'jpeg'}, '`encoding` must be one of'),
        ({'height': 97}, '`data` must be at least'),
        ({'height': 0}, '`width` x `height` must be at least 1 x 1'),
        ({'width': 2**31, 'height': 2**31}, '`width` x `height` must be at most'),
        ({'step': 383}, '`step` must be at least 384'),
    ],
)
def test_bad_image_is_an_error_and_the_next_good_one_is_answered(
    camera: Camera, node: NodeProcess, fields: dict[str, Any], reason: str
) -> None:
    camera.images.publish(camera.peer.image(**fields))
    status = camera.wait_for_level('images', DiagnosticStatus.ERROR)
    assert reason in status.message
    node.wait_for_log(f'refused an image: {reason}')
    camera.ask(camera.peer.image())
    camera.wait_for_level('images', DiagnosticStatus.OK)


def test_error_of_a_bad_image_is_told_though_a_good_one_follows_at_once(
    camera: Camera, node: NodeProcess
) -> None:
    camera.status('images')  # just published: the next diagnostics are a second away
    camera.images.publish(camera.peer.image(encoding='at once'))
    node.wait_for_log("got 'at once'")  # or the good one would replace it
    camera.ask(camera.peer.image())
    assert "got 'at once'" in camera.status('images').message


def test_log_of_bad_images_is_throttled(camera: Camera, node: NodeProcess) -> None:
    time.sleep(1.1)  # let earlier complaints be forgotten
    before = node.log.count('refused an image')
    camera.status('images')
    refused = dropped(camera, 'refused')
    start_s = time.monotonic()
    for index in range(40):
        camera.images.publish(camera.peer.image(encoding=f'bad {index}'))
        time.sleep(0.05)
    wait_for(lambda: dropped(camera, 'refused') > refused + 20, 'refused images')
    assert 2 <= node.log.count('refused an image') - before <= time.monotonic() - start_s + 1
    assert 'more like it were not logged' in node.log


def test_labels_reach_a_late_listener(camera: Camera) -> None:
    received = camera.peer.listen(String, '/segmentation/labels', LATCHED)
    wait_for(lambda: received, 'labels')
    labels = json.loads(received[0].data)
    assert sorted(map(int, labels)) == list(range(11))
    assert set(labels['0']) == {'name', 'rgb'}


@pytest.mark.parametrize(
    ('topic', 'encoding', 'step'),
    [('confidence', 'mono8', 128), ('color_mask', 'rgb8', 384), ('overlay', 'rgb8', 384)],
)
def test_lazy_output_comes_when_somebody_listens(
    camera: Camera, topic: str, encoding: str, step: int
) -> None:
    received = camera.peer.listen(Image, f'/segmentation/{topic}')

    def arrived() -> bool:
        camera.ask(camera.peer.image())
        return bool(received)

    wait_for(arrived, topic)
    assert (received[0].encoding, received[0].step) == (encoding, step)
    assert any(received[0].header == mask.header for mask in camera.masks)


@pytest.mark.parametrize('name', ['processing_time_ms', 'cyclic_time_ms', 'pipeline_latency_ms'])
def test_debug_topics_carry_times(camera: Camera, name: str) -> None:
    received = camera.peer.listen(Float64, f'{NODE}/debug/{name}')

    def arrived() -> bool:
        camera.ask(camera.peer.image())
        return bool(received)

    wait_for(arrived, name)
    assert received[0].data != 0.0


def test_timing_tells_every_stage(camera: Camera) -> None:
    camera.peer.call(Trigger, f'{NODE}/reset')
    timing = camera.ask_timing(camera.peer.image())
    stages = ('wait', 'convert', 'preprocess', 'independent', 'common', 'decode', 'mask')
    times = {name: float(timing[f'{name}_ms']) for name in (*stages, 'publish', 'latency')}
    assert all(value >= 0.0 for value in times.values())
    assert sum(times[name] for name in stages) <= times['latency'] + 1.0
    assert {'reason', 'keyframe_age', 'change_score', 'frames_dropped'} <= set(timing)


def test_keyframes_follow_the_interval(camera: Camera) -> None:
    camera.peer.call(Trigger, f'{NODE}/reset')
    timings = [camera.ask_timing(camera.peer.image()) for _ in range(6)]
    assert [t['reason'] for t in timings] == ['reset', '', '', 'interval', '', '']
    assert [t['keyframe_age'] for t in timings] == ['0', '1', '2', '0', '1', '2']
    assert [t['is_keyframe'] == 'true' for t in timings] == [bool(t['reason']) for t in timings]
    assert [('common_ms' in t) for t in timings] == [bool(t['reason']) for t in timings]


def test_new_size_makes_a_keyframe(camera: Camera) -> None:
    camera.ask(camera.peer.image(96, 128))
    assert camera.ask_timing(camera.peer.image(96, 130))['reason'] == 'size_change'


def test_loop_of_a_bag_makes_a_keyframe(camera: Camera) -> None:
    earlier = camera.peer.image()
    camera.ask(camera.peer.image())
    assert camera.ask_timing(earlier)['reason'] == 'time_jump'


def test_disabled_node_counts_images_and_resumes_with_a_keyframe(camera: Camera) -> None:
    camera.ask(camera.peer.image())
    camera.status('images')
    before = dropped(camera, 'disabled'), dropped(camera, 'disabled', 'lost')
    assert camera.peer.call(SetBool, f'{NODE}/enable', data=False).success
    answered = len(camera.masks)
    for _ in range(3):
        camera.images.publish(camera.peer.image())
    # A busy machine may lose some of three in a row on the way.
    wait_for(lambda: dropped(camera, 'disabled', 'lost') == before[1] + 3, 'all to be counted')
    assert dropped(camera, 'disabled') > before[0]
    assert len(camera.masks) == answered
    assert camera.peer.call(SetBool, f'{NODE}/enable', data=True).success
    assert camera.ask_timing(camera.peer.image())['reason'] == 'reset'


def test_enabling_an_enabled_node_changes_nothing(camera: Camera) -> None:
    camera.ask(camera.peer.image())
    camera.peer.call(Trigger, f'{NODE}/reset')
    camera.ask(camera.peer.image())
    assert camera.peer.call(SetBool, f'{NODE}/enable', data=True).success
    assert camera.ask_timing(camera.peer.image())['is_keyframe'] == 'false'


def test_diagnostics_describe_the_node(camera: Camera) -> None:
    camera.ask(camera.peer.image())
    seen = len(camera.diagnostics)
    model, images = camera.status('model', seen), camera.status('images', seen)
    masks = camera.status('masks', seen)
    assert model.hardware_id
    assert model.level == DiagnosticStatus.WARN  # on the CPU, and nobody asked for that
    assert {'state': 'active', 'device': 'cpu', 'backend': 'openvino'}.items() <= values_of(
        model
    ).items()
    assert values_of(model)['checkpoint'].endswith('tiny.safetensors')
    assert float(values_of(model)['memory_mb']) > 50
    assert values_of(images)['publishers'] == '1'
    assert values_of(masks)['mask_subscribers'] == '1'
    assert 0.0 < float(values_of(masks)['keyframe_share']) <= 1.0
    assert float(values_of(masks)['latency_p50_ms']) > 0.0


def test_diagnostics_come_once_per_second(camera: Camera) -> None:
    camera.status('model')
    before, start_s = len(camera.diagnostics), time.monotonic()
    wait_for(lambda: len(camera.diagnostics) >= before + 3, 'three diagnostics')
    assert 2.0 < time.monotonic() - start_s < 9.0


def test_parameter_out_of_range_is_refused_with_the_range(camera: Camera) -> None:
    result = set_parameter(camera.peer, NODE, 'overlay_alpha', 1.5)
    assert not result.successful
    assert '0.0' in result.reason
    assert '1.0' in result.reason


def test_parameter_of_a_configured_node_is_refused_with_the_way_out(camera: Camera) -> None:
    result = set_parameter(camera.peer, NODE, 'device', 'cpu')
    assert not result.successful
    assert 'clean up the node first' in result.reason


def test_live_parameter_is_used_at_once(camera: Camera) -> None:
    assert set_parameter(camera.peer, NODE, 'deadline_ms', 0.001).successful
    camera.ask(camera.peer.image())
    camera.wait_for_level('masks', DiagnosticStatus.WARN)
    assert set_parameter(camera.peer, NODE, 'deadline_ms', 0.0).successful
    camera.wait_for_level('masks', DiagnosticStatus.OK)


def test_descriptors_tell_range_and_meaning(camera: Camera) -> None:
    names = ['keyframe_interval', 'overlay_alpha', 'autostart', 'device']
    answer = camera.peer.call(DescribeParameters, f'{NODE}/describe_parameters', names=names)
    interval, alpha, autostart, device = answer.descriptors
    limits = interval.integer_range[0]
    assert (limits.from_value, limits.to_value, limits.step) == (1, 1000, 1)
    assert alpha.floating_point_range[0].step == 0.0
    assert autostart.read_only
    assert 'cuda' in device.additional_constraints
    assert all(descriptor.description for descriptor in answer.descriptors)


def test_silence_is_a_warning_that_names_the_topic(camera: Camera) -> None:
    assert set_parameter(camera.peer, NODE, 'no_image_warning_s', 0.5).successful
    status = camera.wait_for_level('images', DiagnosticStatus.WARN)
    assert '/segmentation/image' in status.message
    assert set_parameter(camera.peer, NODE, 'no_image_warning_s', 5.0).successful


def test_best_effort_publisher_is_answered(camera: Camera, node: NodeProcess) -> None:
    publisher = camera.peer.create_publisher(Image, '/segmentation/image', BEST_EFFORT)
    wait_for(publisher.get_subscription_count, 'a subscription that takes best effort')
    node.wait_for_log('offers less than requested: RELIABILITY')
    headers = []

    def answered() -> bool:
        message = camera.peer.image()
        headers.append(message.header)
        publisher.publish(message)
        time.sleep(0.1)
        return any(mask.header in headers for mask in camera.masks)

    wait_for(answered, 'a mask for a best-effort image')
    camera.peer.destroy_publisher(publisher)
    wait_for(
        lambda: values_of(camera.status('images', 0))['reliability'] == 'reliable',
        'a reliable subscription, as the other publisher offers',
    )
    wait_for(camera.images.get_subscription_count, 'the subscription')
