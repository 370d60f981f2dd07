"""The node as its users meet it: a process of its own, real messages over DDS."""

from __future__ import annotations

import array
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from peer import BEST_EFFORT, LATCHED, values_of
from rcl_interfaces.srv import DescribeParameters
from running_node import NODE, NodeProcess, SetLive, wait_for
from std_msgs.msg import Float64, String
from std_srvs.srv import SetBool
from stream import Stream

from dcfm_ros.ros.messages import stamp_to_ns

pytestmark = pytest.mark.dds


@pytest.mark.parametrize(
    ('sec', 'nanosec', 'frame_id'),
    [(0, 1, ''), (1, 999_999_999, 'kamera/optisch é'), (2**31 - 1, 0, 'x' * 300)],
)
def test_mask_has_the_header_of_its_image(
    stream: Stream, sec: int, nanosec: int, frame_id: str
) -> None:
    message = stream.peer.image()
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    message.header.frame_id = frame_id
    assert stream.ask(message).header == message.header


@pytest.mark.parametrize(('height', 'width'), [(97, 131), (1, 333), (240, 33), (480, 640)])
def test_mask_has_camera_resolution_without_padding(
    stream: Stream, height: int, width: int
) -> None:
    mask = stream.ask(stream.peer.image(height, width))
    assert (mask.height, mask.width, mask.step) == (height, width, width)
    assert (mask.encoding, mask.is_bigendian) == ('mono8', 0)
    assert len(mask.data) == height * width
    assert max(mask.data) < 11


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_colour_encodings_give_the_same_mask(stream: Stream, encoding: str) -> None:
    message = stream.peer.image()
    rgb = np.frombuffer(message.data, np.uint8).reshape(96, 128, 3)
    pixels = rgb if encoding.startswith('rgb') else rgb[..., ::-1]
    if 'a' in encoding:
        pixels = np.dstack([pixels, np.full((96, 128), 7, np.uint8)])
    rows = np.pad(pixels.reshape(96, -1), ((0, 0), (0, 5)), constant_values=99)
    stream.reset()
    expected = stream.ask(message)
    stream.reset()
    padded = stream.peer.image(encoding=encoding, step=rows.shape[1])
    padded.data = array.array('B', rows.tobytes())
    assert stream.ask(padded).data == expected.data


@pytest.mark.parametrize('encoding', ['mono8', 'yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv'])
def test_other_encodings_are_answered(stream: Stream, encoding: str) -> None:
    step = 128 * (1 if encoding == 'mono8' else 2)
    mask = stream.ask(stream.peer.image(encoding=encoding, step=step))
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
def test_bad_image_is_refused_and_the_next_good_one_is_answered(
    stream: Stream, node: NodeProcess, fields: dict[str, Any], reason: str
) -> None:
    seen = len(node.log)

    def is_logged() -> bool:  # within a second of the log line before it is not
        stream.send(stream.peer.image(**fields))
        return f'refused an image: {reason}' in node.log[seen:]

    wait_for(is_logged, 'the reason in the log')
    stream.ask()


def test_bad_image_is_an_error_until_a_good_one_is_answered(stream: Stream) -> None:
    stream.send(stream.image(encoding='no such'))
    status = stream.diagnostics.wait_for_message('images', "got 'no such'")
    assert status.level == DiagnosticStatus.ERROR
    stream.ask()
    stream.diagnostics.wait_for_level('images', DiagnosticStatus.OK)


def test_error_of_a_bad_image_is_told_though_a_good_one_follows_at_once(
    stream: Stream, node: NodeProcess
) -> None:
    stream.diagnostics.next('images')  # the next diagnostics are a second away
    since = len(stream.diagnostics.messages)
    stream.send(stream.image(encoding='at once'))
    node.wait_for_log("got 'at once'")  # or the good one would replace it
    stream.ask()

    def is_told() -> bool:  # by any of them, should this take longer than a second
        return any("got 'at once'" in s.message for s in stream.diagnostics.all('images', since))

    wait_for(is_told, 'the error')


def test_log_of_bad_images_is_throttled(stream: Stream, node: NodeProcess) -> None:
    seen, sent = len(node.log), 0

    def has_caught_up() -> bool:
        nonlocal sent
        sent += 1
        stream.send(stream.image(encoding=f'bad {sent}'))
        return node.log[seen:].count('refused an image') >= 3

    wait_for(has_caught_up, 'three lines', pause_s=0.02)
    assert node.log[seen:].count('refused an image') < sent / 4


def test_labels_reach_a_late_listener(stream: Stream) -> None:
    received = stream.peer.listen(String, '/segmentation/labels', LATCHED)
    wait_for(lambda: received, 'labels')
    labels = json.loads(received[0].data)
    assert sorted(map(int, labels)) == list(range(11))
    assert set(labels['0']) == {'name', 'rgb'}


@pytest.mark.parametrize(
    ('topic', 'encoding', 'step'),
    [('confidence', 'mono8', 128), ('color_mask', 'rgb8', 384), ('overlay', 'rgb8', 384)],
)
def test_lazy_output_comes_when_somebody_listens(
    stream: Stream, topic: str, encoding: str, step: int
) -> None:
    received = stream.output(topic)
    assert (received[0].encoding, received[0].step) == (encoding, step)
    assert any(received[0].header == mask.header for mask in stream.masks)


@pytest.mark.parametrize('name', ['processing_time_ms', 'cyclic_time_ms', 'pipeline_latency_ms'])
def test_debug_topics_carry_times(stream: Stream, name: str) -> None:
    received = stream.peer.listen(Float64, f'{NODE}/debug/{name}')

    def arrived() -> bool:
        stream.ask()
        return bool(received)

    wait_for(arrived, name)
    assert received[0].data != 0.0


def test_timing_tells_every_stage(stream: Stream) -> None:
    stream.reset()
    timing = stream.ask_timing()
    stages = ('wait', 'convert', 'preprocess', 'independent', 'common', 'decode', 'mask')
    times = {name: float(timing[f'{name}_ms']) for name in (*stages, 'publish', 'latency')}
    assert all(value >= 0.0 for value in times.values())
    assert sum(times[name] for name in stages) <= times['latency'] + 1.0
    assert {'reason', 'keyframe_age', 'change_score', 'frames_dropped'} <= set(timing)


def test_keyframes_follow_the_interval(stream: Stream) -> None:
    stream.reset()
    timings = [stream.ask_timing() for _ in range(6)]
    assert [t['reason'] for t in timings] == ['reset', '', '', 'interval', '', '']
    assert [t['keyframe_age'] for t in timings] == ['0', '1', '2', '0', '1', '2']
    assert [t['is_keyframe'] == 'true' for t in timings] == [bool(t['reason']) for t in timings]
    assert [('common_ms' in t) for t in timings] == [bool(t['reason']) for t in timings]


def test_new_size_makes_a_keyframe(stream: Stream) -> None:
    stream.ask(stream.peer.image(96, 128))
    assert stream.ask_timing(stream.peer.image(96, 130))['reason'] == 'size_change'


def test_loop_of_a_bag_makes_a_keyframe(stream: Stream) -> None:
    earlier = stream.peer.image()
    stream.ask()
    assert stream.ask_timing(earlier)['reason'] == 'time_jump'


def test_disabled_node_counts_images_and_resumes_with_a_keyframe(stream: Stream) -> None:
    stream.ask()
    stream.diagnostics.next('images')
    disabled, gone = stream.count('dropped_disabled'), stream.count('dropped_')
    assert stream.peer.call(SetBool, f'{NODE}/enable', data=False).success
    answered = len(stream.masks)
    for _ in range(3):
        stream.send(stream.image())
    # A busy machine may lose some of three in a row on the way.
    wait_for(lambda: stream.count('dropped_') == gone + 3, 'all to be counted')
    assert stream.count('dropped_disabled') > disabled
    stream.diagnostics.wait_for_message('images', 'paused by ~/enable')
    assert len(stream.masks) == answered
    assert stream.peer.call(SetBool, f'{NODE}/enable', data=True).success
    assert stream.ask_timing()['reason'] == 'reset'


def test_enabling_an_enabled_node_changes_nothing(stream: Stream) -> None:
    stream.reset()
    stream.ask()
    assert stream.peer.call(SetBool, f'{NODE}/enable', data=True).success
    assert stream.ask_timing()['is_keyframe'] == 'false'


def test_diagnostics_describe_the_node(stream: Stream) -> None:
    stream.ask()
    model = stream.diagnostics.next('model')
    images, masks = stream.diagnostics.values('images'), stream.diagnostics.values('masks')
    assert model.hardware_id
    assert model.level == DiagnosticStatus.WARN  # on the CPU, and nobody asked for that
    values = values_of(model)
    expected = {'state': 'active', 'device': 'cpu', 'backend': 'openvino'}
    assert expected.items() <= values.items()
    assert values['checkpoint'].endswith('tiny.safetensors')
    assert float(values['memory_mb']) > 50
    assert images['publishers'] == '1'
    assert masks['mask_subscribers'] == '1'
    assert 0.0 < float(masks['keyframe_share']) <= 1.0
    assert float(masks['latency_p50_ms']) > 0.0


def test_diagnostics_come_about_once_per_second(stream: Stream) -> None:
    """By the clock that stamps them, and however many frames are answered."""
    start = len(stream.diagnostics.messages)
    wait_for(lambda: stream.ask() and len(stream.diagnostics.messages) >= start + 3, 'diagnostics')
    first, *_, last = (m.header.stamp for m in stream.diagnostics.messages[start : start + 3])
    assert stamp_to_ns(last) - stamp_to_ns(first) > 1_000_000_000


def test_parameter_out_of_range_is_refused_with_the_range(stream: Stream) -> None:
    result = stream.peer.try_to_set(NODE, overlay_alpha=1.5)
    assert not result.successful
    assert '0.0' in result.reason
    assert '1.0' in result.reason


def test_parameter_of_a_configured_node_is_refused_with_the_way_out(stream: Stream) -> None:
    result = stream.peer.try_to_set(NODE, device='cpu')
    assert not result.successful
    assert 'clean up the node first' in result.reason


def test_descriptors_tell_range_and_meaning(stream: Stream) -> None:
    names = ['keyframe_interval', 'overlay_alpha', 'autostart', 'device']
    answer = stream.peer.call(DescribeParameters, f'{NODE}/describe_parameters', names=names)
    interval, alpha, autostart, device = answer.descriptors
    limits = interval.integer_range[0]
    assert (limits.from_value, limits.to_value, limits.step) == (1, 1000, 1)
    assert alpha.floating_point_range[0].step == 0.0
    assert autostart.read_only
    assert 'cuda' in device.additional_constraints
    assert all(descriptor.description for descriptor in answer.descriptors)


def test_silence_is_a_warning_that_names_the_topic(stream: Stream, set_live: SetLive) -> None:
    set_live(no_image_warning_s=0.5)
    status = stream.diagnostics.wait_for_level('images', DiagnosticStatus.WARN)
    assert '/segmentation/image' in status.message


def test_best_effort_publisher_is_answered(stream: Stream, node: NodeProcess) -> None:
    publisher = stream.peer.connect('/segmentation/image', BEST_EFFORT)
    node.wait_for_log('offers less than requested: RELIABILITY')
    headers = []

    def answered() -> bool:
        message = stream.image()
        headers.append(message.header)
        publisher.publish(message)
        return any(mask.header in headers for mask in stream.masks)

    wait_for(answered, 'a mask for a best-effort image', pause_s=0.1)
    stream.diagnostics.wait_for_value('images', 'reliability', 'best_effort')
    stream.peer.end(publisher)
    stream.diagnostics.wait_for_value('images', 'reliability', 'reliable')
    wait_for(stream.images.get_subscription_count, 'the subscription')
