"""semantic_cloud_node as a process: clouds for depth images and masks, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import signal
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from running_node import NodeProcess, Peer, running_peer, set_parameter, wait_for
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String

from dcfm_ros.cloud.points import POINT
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp

NODE = '/segmentation/semantic_cloud_node'
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LABELS = {'0': {'name': 'sky', 'rgb': [1, 2, 3]}, '1': {'name': 'car', 'rgb': [255, 0, 9]}}
DEPTH = np.full((6, 8), 2000, np.uint16)
MASK = np.repeat(np.array([[0, 1]], np.uint8), 4, 1).repeat(6, 0)
STEP_NS = 33_000_000


class CloudProcess(NodeProcess):
    program = ('-m', 'dcfm_ros.cloud.node')


class Scene:
    """A depth camera and a segmentation node that do what a test tells them, and a listener."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.stamp_ns = time.time_ns()
        topics = ('depth/image', 'mask')
        self.images = {topic: peer.connect(f'/segmentation/{topic}') for topic in topics}
        self.info = peer.create_publisher(CameraInfo, '/segmentation/depth/camera_info', 1)
        wait_for(self.info.get_subscription_count, 'a subscription of camera_info')
        self.labels = peer.create_publisher(String, '/segmentation/labels', LATCHED)
        self.labels.publish(String(data=json.dumps(LABELS)))
        wait_for(self.labels.get_subscription_count, 'a subscription of labels')
        self.clouds: list[PointCloud2] = peer.listen(PointCloud2, '/segmentation/points')
        self.diagnostics: list[Any] = peer.listen(DiagnosticArray, '/diagnostics')

    def calibrate(self, width: int = 8, height: int = 6) -> None:
        k = [4.0, 0.0, 4.0, 0.0, 4.0, 3.0, 0.0, 0.0, 1.0]
        self.info.publish(CameraInfo(width=width, height=height, k=k))

    def publish(self, topic: str, pixels: NDArray[Any], encoding: str, **fields: Any) -> Header:
        header = Header(stamp=ns_to_stamp(self.stamp_ns), frame_id='optical')
        message = array_to_image(pixels.view(np.uint8), encoding, header)
        message.width = pixels.shape[1]
        for name, value in fields.items():
            setattr(message, name, value)
        self.images[topic].publish(message)
        return header

    def show(self) -> list[PointCloud2]:
        """A depth image and its mask; returns their cloud if it has come already."""
        self.stamp_ns += STEP_NS
        header = self.publish('depth/image', DEPTH, '16UC1')
        self.publish('mask', MASK, 'mono8')
        time.sleep(0.05)
        return [cloud for cloud in self.clouds if cloud.header == header]

    def see(
        self, depth: NDArray[Any] = DEPTH, encoding: str = '16UC1', **fields: Any
    ) -> PointCloud2:
        """A depth image and its mask; returns their cloud."""
        self.stamp_ns += STEP_NS
        header = self.publish('depth/image', depth, encoding, **fields)
        self.publish('mask', MASK, 'mono8')
        return self.cloud_of(header)

    def cloud_of(self, header: Header) -> PointCloud2:
        wait_for(lambda: [c for c in self.clouds if c.header == header], 'a cloud of the stamp')
        return next(cloud for cloud in self.clouds if cloud.header == header)

    def values(self, task: str) -> dict[str, str]:
        """What the newest diagnostics say, with level and message."""
        told = len(self.diagnostics)
        wait_for(lambda: len(self.diagnostics) > told, 'diagnostics')
        (status,) = (
            status for status in self.diagnostics[-1].status if status.name == f'{NODE}: {task}'
        )
        values = {entry.key: entry.value for entry in status.values}
        return values | {'level': str(status.level[0]), 'message': status.message}

    def wait_for_value(self, task: str, key: str, value: str) -> dict[str, str]:
        wait_for(lambda: self.values(task)[key] == value, f'{key} {value} of {task}')
        return self.values(task)


def points_of(cloud: PointCloud2) -> NDArray[np.void]:
    return np.frombuffer(cloud.data, POINT).reshape(cloud.height, cloud.width)


@pytest.fixture(scope='module')
def peer() -> Iterator[Peer]:
    with running_peer() as running:
        yield running


@pytest.fixture(scope='module')
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp('cloud') / 'log'
    running = CloudProcess(log, use_confidence='false', max_time_difference_ms=20)
    yield running
    running.stop()


@pytest.fixture(scope='module')
def started(process: NodeProcess, peer: Peer) -> Scene:
    return Scene(peer)


@pytest.fixture
def scene(started: Scene) -> Scene:
    """Both sides know of each other, nothing waits for a partner, nothing is refused."""
    started.calibrate()
    wait_for(started.show, 'a cloud', pause_s=0.1)
    return started


def test_cloud_has_header_and_size_of_the_depth_image(scene: Scene) -> None:
    cloud = scene.see()
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (6, 8, 28, 224)
    assert (cloud.is_dense, cloud.is_bigendian) == (False, False)
    assert cloud.header.frame_id == 'optical'


def test_points_have_place_class_and_colour(scene: Scene) -> None:
    points = points_of(scene.see())
    assert points[3, 4].tolist()[:3] == (0.0, 0.0, 2.0)
    assert points[5, 7].tolist()[:3] == (1.5, 1.0, 2.0)
    assert points['label'].tolist() == MASK.tolist()
    assert points['rgb'].view(np.uint32)[0, [0, 7]].tolist() == [0x010203, 0xFF0009]
    assert (points['confidence'] == 1.0).all()


def test_depth_that_is_no_number_makes_no_point(scene: Scene) -> None:
    depth = np.full((6, 8), 1.5, np.float32)
    depth[0, :4] = [np.nan, np.inf, -np.inf, 0.0]
    points = points_of(scene.see(depth, '32FC1'))
    assert np.isnan(points['z'])[0, :4].all()
    assert np.isfinite(points['z']).sum() == 44
    assert np.isnan(points['x']).sum() == np.isnan(points['y']).sum() == 4


def test_big_endian_depth_is_read(scene: Scene) -> None:
    points = points_of(scene.see(DEPTH.astype('>u2'), is_bigendian=1))
    assert points['z'] == pytest.approx(2.0)


def test_depth_of_zeros_makes_a_cloud_without_points(scene: Scene) -> None:
    points = points_of(scene.see(np.zeros((6, 8), np.uint16)))
    assert np.isnan(points['z']).all()


def test_depth_of_half_the_size_gets_half_the_cloud(scene: Scene) -> None:
    points = points_of(scene.see(DEPTH[::2, ::2].copy()))
    assert points['label'].tolist() == MASK[::2, ::2].tolist()
    assert points[2, 3].tolist()[:3] == (1.0, 0.5, 2.0)


@pytest.mark.parametrize('delay', [1, 5, 25])
def test_late_mask_finds_its_depth_image(scene: Scene, delay: int) -> None:
    start_ns = scene.stamp_ns + STEP_NS
    for i in range(delay):
        scene.stamp_ns = start_ns + i * STEP_NS
        scene.publish('depth/image', DEPTH, '16UC1')
        time.sleep(0.005)
    scene.stamp_ns = start_ns
    header = scene.publish('mask', MASK, 'mono8')
    assert scene.cloud_of(header).width == 8
    scene.stamp_ns += delay * STEP_NS


def test_mask_of_another_clock_is_taken_within_the_tolerance(scene: Scene) -> None:
    scene.stamp_ns += STEP_NS
    header = scene.publish('depth/image', DEPTH, '16UC1')
    scene.stamp_ns += 5_000_000
    scene.publish('mask', MASK, 'mono8')
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, '16UC1')
    assert scene.cloud_of(header).header == header


def test_depth_without_a_mask_is_counted(scene: Scene) -> None:
    before = int(scene.values('depth images')['dropped_no_mask'])
    for _ in range(4):
        scene.stamp_ns += STEP_NS
        scene.publish('depth/image', DEPTH, '16UC1')
    scene.see()
    scene.wait_for_value('depth images', 'dropped_no_mask', str(before + 4))


def test_every_depth_image_is_a_cloud_or_counted(scene: Scene) -> None:
    scene.see()
    values = scene.values('depth images')
    dropped = sum(int(value) for key, value in values.items() if key.startswith('dropped_'))
    clouds = int(scene.values('clouds')['clouds'])
    assert int(values['frames_received']) == clouds + dropped - int(values['dropped_lost'])


def test_calibration_of_another_view_is_refused_and_told(scene: Scene) -> None:
    scene.calibrate(16, 9)
    wait_for(lambda: not scene.show(), 'no cloud')
    values = scene.wait_for_value('depth images', 'level', '2')
    assert int(values['dropped_refused']) > 0
    assert '`camera_info` must have the aspect ratio' in values['message']
    scene.calibrate()
    wait_for(scene.show, 'a cloud again')
    scene.wait_for_value('depth images', 'level', '0')


@pytest.mark.parametrize(
    ('fields', 'told'),
    [
        ({'encoding': '64FC1'}, '`encoding` of depth must be one of 16UC1, mono16, 32FC1'),
        ({'step': 3}, '`step` of depth must be at least 16 bytes'),
        ({'height': 1000}, '`data` of depth must be at least 16000 bytes'),
        ({'width': 0}, '`width` x `height` must be at least 1 x 1, got 0 x 6'),
    ],
)
def test_bad_depth_is_refused_and_the_next_is_answered(
    scene: Scene, process: NodeProcess, fields: dict[str, Any], told: str
) -> None:
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, **({'encoding': '16UC1'} | fields))
    scene.publish('mask', MASK, 'mono8')
    process.wait_for_log(told)
    assert scene.see().width == 8


def test_stamps_that_go_back_are_no_end(scene: Scene) -> None:
    now_ns = scene.stamp_ns
    scene.stamp_ns -= 3_600_000_000_000
    assert scene.see().width == 8
    scene.stamp_ns = now_ns
    assert scene.see().width == 8


def test_parameters_change_the_next_cloud(scene: Scene) -> None:
    try:
        assert set_parameter(scene.peer, NODE, 'stride', 2).successful
        assert set_parameter(scene.peer, NODE, 'max_range', 1.0).successful
        cloud = scene.see()
        assert (cloud.height, cloud.width) == (3, 4)
        assert np.isnan(points_of(cloud)['z']).all()
    finally:
        set_parameter(scene.peer, NODE, 'stride', 1)
        set_parameter(scene.peer, NODE, 'max_range', 0.0)


def test_bad_parameter_is_refused_with_a_reason(scene: Scene) -> None:
    answer = set_parameter(scene.peer, NODE, 'stride', 0)
    assert not answer.successful
    assert 'stride' in answer.reason


def test_filtered_cloud_has_the_classes_asked_for(scene: Scene) -> None:
    filtered = scene.peer.listen(PointCloud2, '/segmentation/points/filtered')
    depth = DEPTH.copy()
    depth[0] = 0
    try:
        assert set_parameter(scene.peer, NODE, 'keep_labels', ['car', 'cat']).successful
        cloud = scene.see(depth)
        wait_for(lambda: [c for c in filtered if c.header == cloud.header], 'a filtered cloud')
        points = points_of(filtered[-1])
        assert (points['label'] == 1).all()
        assert (filtered[-1].height, filtered[-1].width, filtered[-1].is_dense) == (1, 20, True)
        told = scene.wait_for_value('clouds', 'level', '1')['message']
        assert told == '`keep_labels` has no such class: cat'
    finally:
        set_parameter(scene.peer, NODE, 'keep_labels', [''])


def test_mask_and_confidence_come_in_the_size_of_the_cloud(scene: Scene) -> None:
    masks = scene.peer.listen(Image, '/segmentation/points/mask')
    confidences = scene.peer.listen(Image, '/segmentation/points/confidence')
    cloud = scene.see(DEPTH[::2, ::2].copy())
    wait_for(lambda: masks and confidences, 'mask and confidence of the cloud')
    for image in (masks[-1], confidences[-1]):
        assert image.header == cloud.header
        assert (image.height, image.width, image.step, image.encoding) == (3, 4, 4, 'mono8')
    assert bytes(masks[-1].data) == MASK[::2, ::2].tobytes()
    assert bytes(confidences[-1].data) == b'\xff' * 12


def test_other_frames_are_told(scene: Scene) -> None:
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, '16UC1', header=Header(frame_id='depth'))
    told = scene.wait_for_value('clouds', 'depth_frame', 'depth')
    assert told['level'] == '1'
    assert 'depth is in frame depth, the mask in optical' in told['message']


def test_what_is_missing_is_told_and_confidence_is_waited_for(
    peer: Peer, process: NodeProcess, tmp_path: Path
) -> None:
    other = CloudProcess(
        tmp_path / 'log', '-r', '__ns:=/other', '-r', '__node:=cloud', color='image'
    )
    topics = ('depth/image', 'mask', 'confidence', 'image')
    try:
        publishers = {topic: peer.connect(f'/other/{topic}') for topic in topics}
        clouds = peer.listen(PointCloud2, '/other/points')
        diagnostics = peer.listen(DiagnosticArray, '/diagnostics')

        def told(text: str) -> bool:
            statuses = (status for array in diagnostics for status in array.status)
            return any(text in s.message for s in statuses if s.name == '/other/cloud: clouds')

        def publish(stamp: int, *topics: str) -> None:
            header = Header(stamp=ns_to_stamp(stamp * STEP_NS))
            confidence = np.full((6, 8), 51, np.uint8)
            colours = np.full((6, 8, 3), 7, np.uint8)
            images = {
                'depth/image': array_to_image(DEPTH.view(np.uint8), '16UC1', header),
                'mask': array_to_image(MASK, 'mono8', header),
                'confidence': array_to_image(confidence, 'mono8', header),
                'image': array_to_image(colours, 'rgb8', header),
            }
            images['depth/image'].width = 8
            for topic in topics:
                publishers[topic].publish(images[topic])

        publish(1, *topics)
        missing = 'no clouds: nothing comes on /other/depth/camera_info'
        wait_for(lambda: told(missing), missing)
        info = peer.create_publisher(CameraInfo, '/other/depth/camera_info', 1)
        wait_for(info.get_subscription_count, 'a subscription of camera_info')
        k = [4.0, 0.0, 4.0, 0.0, 4.0, 3.0, 0.0, 0.0, 1.0]
        info.publish(CameraInfo(width=8, height=6, k=k))
        time.sleep(0.2)
        publish(2, 'depth/image', 'mask', 'image')
        publish(3, *topics)
        wait_for(lambda: clouds, 'a cloud')
        assert clouds[0].header.stamp == ns_to_stamp(3 * STEP_NS)
        points = points_of(clouds[0])
        assert points['confidence'] == pytest.approx(0.2)
        assert (points['rgb'].view(np.uint32) == 0x070707).all()
    finally:
        assert other.stop() == 0


def test_best_effort_publishers_are_heard(peer: Peer, tmp_path: Path) -> None:
    other = CloudProcess(tmp_path / 'log', '-r', '__ns:=/effort', use_confidence='false')
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    try:
        topics = ('depth/image', 'mask')
        publishers = [peer.create_publisher(Image, f'/effort/{topic}', qos) for topic in topics]
        diagnostics = peer.listen(DiagnosticArray, '/diagnostics')

        def received() -> bool:
            for publisher in publishers:
                publisher.publish(Image())
            statuses = (status for array in diagnostics for status in array.status)
            values = (s.values for s in statuses if s.name.startswith('/effort/'))
            told = {entry.key: entry.value for entries in values for entry in entries}
            return told.get('reliability') == 'best_effort' and told['frames_received'] != '0'

        wait_for(received, 'a depth image', pause_s=0.1)
    finally:
        assert other.stop() == 0


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_signal_under_load_ends_it_with_code_0(
    peer: Peer, tmp_path: Path, how: signal.Signals
) -> None:
    other = CloudProcess(tmp_path / 'log', '-r', '__ns:=/load', use_confidence='false')
    depth, mask = (peer.connect(f'/load/{topic}') for topic in ('depth/image', 'mask'))
    clouds = peer.listen(PointCloud2, '/load/points')
    info = peer.create_publisher(CameraInfo, '/load/depth/camera_info', LATCHED)
    k = [400.0, 0.0, 320.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0]
    info.publish(CameraInfo(width=640, height=480, k=k))
    wait_for(info.get_subscription_count, 'a subscription of camera_info')
    pixels = np.full((480, 640), 2000, np.uint16)
    stamp = 0
    while len(clouds) < 3:
        stamp += 1
        header = Header(stamp=ns_to_stamp(stamp * STEP_NS))
        message = array_to_image(pixels.view(np.uint8), '16UC1', header)
        message.width = 640
        depth.publish(message)
        mask.publish(array_to_image(pixels.astype(np.uint8), 'mono8', header))
        info.publish(CameraInfo(width=640, height=480, k=k))
        time.sleep(0.02)
    assert other.stop(how) == 0
    assert 'Traceback' not in other.log


def test_wrong_parameters_end_the_start_with_a_line_each(tmp_path: Path) -> None:
    process = CloudProcess(tmp_path / 'log', stride=0, color='blue', max_rnage=3.0)
    assert process.wait() == 2
    assert '`stride` must be a whole number from 1 to 64 , got 0'.replace(' ,', ',') in process.log
    assert "`color` must be one of class, image, got 'blue'" in process.log


def test_it_needs_no_torch() -> None:
    import subprocess
    import sys

    code = 'import sys, dcfm_ros.cloud.node; sys.exit("torch" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
