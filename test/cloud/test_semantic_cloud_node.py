"""semantic_cloud_node as a process: clouds for depth images and masks, whatever comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from peer import BEST_EFFORT, LATCHED, Diagnostics, Peer, answer_to
from running_node import CLOUD, NodeProcess, running_node, wait_for
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String

from dcfm_ros.cloud.points import POINT, point_type
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp
from dcfm_ros.ros.parameters.cloud import FIELDS

pytestmark = pytest.mark.dds
NODE = '/segmentation/semantic_cloud_node'
LABELS = {'0': {'name': 'sky', 'rgb': [1, 2, 3]}, '1': {'name': 'car', 'rgb': [255, 0, 9]}}
DEPTH = np.full((6, 8), 2000, np.uint16)
MASK = np.repeat(np.array([[0, 1]], np.uint8), 4, 1).repeat(6, 0)
STEP_NS = 33_000_000
K = [4.0, 0.0, 4.0, 0.0, 4.0, 3.0, 0.0, 0.0, 1.0]


class Scene:
    """A depth camera and a segmentation node that do what a test tells them, and a listener."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.stamp_ns = time.time_ns()
        topics = ('depth/image', 'mask')
        self.images = {topic: peer.connect(f'/segmentation/{topic}') for topic in topics}
        self.info = peer.connect('/segmentation/depth/camera_info', 1, CameraInfo)
        self.labels = peer.create_publisher(String, '/segmentation/labels', LATCHED)
        self.labels.publish(String(data=json.dumps(LABELS)))
        wait_for(self.labels.get_subscription_count, 'a subscription of labels')
        self.clouds: list[PointCloud2] = peer.listen(PointCloud2, '/segmentation/points')
        self.diagnostics = Diagnostics(peer, NODE)

    def calibrate(self, width: int = 8, height: int = 6) -> None:
        self.info.publish(CameraInfo(width=width, height=height, k=K))

    def publish(self, topic: str, pixels: NDArray[Any], encoding: str, **fields: Any) -> Header:
        header = Header(stamp=ns_to_stamp(self.stamp_ns), frame_id='optical')
        message = array_to_image(pixels.view(np.uint8), encoding, header)
        message.width = pixels.shape[1]
        for name, value in fields.items():
            setattr(message, name, value)
        self.images[topic].publish(message)
        return header

    def show(self) -> Header:
        """A depth image and its mask; returns their header."""
        self.stamp_ns += STEP_NS
        header = self.publish('depth/image', DEPTH, '16UC1')
        self.publish('mask', MASK, 'mono8')
        return header

    def listen(self, kind: Any, topic: str) -> list[Any]:
        """What comes on a topic of the node, which knows its listener when this returns."""
        received = self.peer.listen(kind, f'/segmentation/{topic}')
        wait_for(lambda: self.show() and received, topic, pause_s=0.05)
        return received

    def is_answered(self, header: Header) -> bool:
        return any(cloud.header == header for cloud in self.clouds)

    def see(
        self, depth: NDArray[Any] = DEPTH, encoding: str = '16UC1', **fields: Any
    ) -> PointCloud2:
        """A depth image and its mask; returns their cloud."""
        self.stamp_ns += STEP_NS
        header = self.publish('depth/image', depth, encoding, **fields)
        self.publish('mask', MASK, 'mono8')
        return self.cloud_of(header)

    def see_with(self, mask: NDArray[np.uint8]) -> PointCloud2:
        """The cloud of a depth image and some mask."""
        self.stamp_ns += STEP_NS
        header = self.publish('depth/image', DEPTH, '16UC1')
        self.publish('mask', mask, 'mono8')
        return self.cloud_of(header)

    def cloud_of(self, header: Header) -> PointCloud2:
        cloud: PointCloud2 = answer_to(self.clouds, header)
        return cloud

    def count(self, key: str) -> int:
        """A counter of the depth images, from diagnostics that come from now on."""
        self.diagnostics.next('depth images')
        return int(self.diagnostics.values('depth images')[key])


def points_of(cloud: PointCloud2) -> NDArray[np.void]:
    return np.frombuffer(cloud.data, POINT).reshape(cloud.height, cloud.width)


@pytest.fixture(scope='module')
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    log = tmp_path_factory.mktemp('cloud') / 'log'
    values = {'use_confidence': 'false', 'max_time_difference_ms': 20}
    with running_node(log, program=CLOUD, **values) as process:
        yield process


@pytest.fixture(scope='module')
def started(peer: Peer) -> Scene:
    return Scene(peer)


@pytest.fixture
def scene(started: Scene) -> Scene:
    """Both sides know of each other, nothing waits for a partner, nothing is refused."""
    started.calibrate()
    shown: list[Header] = []

    def some_is_answered() -> bool:
        shown.append(started.show())
        return any(map(started.is_answered, shown))

    wait_for(some_is_answered, 'a cloud', pause_s=0.02)
    started.see()
    return started


def test_cloud_has_header_and_size_of_the_depth_image(scene: Scene) -> None:
    cloud = scene.see()
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (6, 8, 28, 224)
    assert (cloud.is_dense, cloud.is_bigendian) == (False, False)
    assert cloud.header.frame_id == 'optical'


def test_points_have_place_class_and_colour(scene: Scene) -> None:
    def has_colours() -> bool:  # the labels may come after the first images
        return 0x010203 in points_of(scene.see())['rgb'].view(np.uint32)

    wait_for(has_colours, 'labels')
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
    def is_found() -> bool:
        """Whether a mask has a cloud; not if a node that stood still lost some depth images."""
        lost = scene.count('dropped_lost')
        start_ns = scene.stamp_ns + STEP_NS
        for i in range(delay):
            scene.stamp_ns = start_ns + i * STEP_NS
            scene.publish('depth/image', DEPTH, '16UC1')
            time.sleep(0.005)
        end_ns, scene.stamp_ns = scene.stamp_ns, start_ns
        header = scene.publish('mask', MASK, 'mono8')
        scene.stamp_ns = end_ns

        def is_over() -> bool:
            values = scene.diagnostics.values('depth images')
            return scene.is_answered(header) or int(values['dropped_lost']) > lost

        wait_for(is_over, 'a cloud, or a loss')
        return scene.is_answered(header)

    wait_for(is_found, 'a cloud')


def test_mask_of_another_clock_is_taken_within_the_tolerance(scene: Scene) -> None:
    scene.stamp_ns += STEP_NS
    header = scene.publish('depth/image', DEPTH, '16UC1')
    scene.stamp_ns += 5_000_000
    scene.publish('mask', MASK, 'mono8')
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, '16UC1')
    assert scene.cloud_of(header).header == header


def test_depth_without_a_mask_is_counted(scene: Scene) -> None:
    before = scene.count('dropped_no_mask')
    for _ in range(4):
        scene.stamp_ns += STEP_NS
        scene.publish('depth/image', DEPTH, '16UC1')
    scene.see()
    scene.diagnostics.wait_for_value('depth images', 'dropped_no_mask', str(before + 4))


def test_every_depth_image_is_a_cloud_or_counted(scene: Scene) -> None:
    scene.see()
    scene.diagnostics.next('clouds')

    def missing() -> int:
        values = scene.diagnostics.values('depth images')
        dropped = sum(int(value) for key, value in values.items() if key.startswith('dropped_'))
        arrived = int(values['frames_received']) + int(values['dropped_lost'])
        return arrived - dropped - int(scene.diagnostics.values('clouds')['clouds'])

    # The worker publishes a cloud before it counts it.
    wait_for(lambda: missing() == 0, 'all depth images to be counted')


def test_calibration_of_another_view_is_refused_and_told(scene: Scene) -> None:
    scene.calibrate(16, 9)
    text = '`camera_info` must have the aspect ratio'

    def is_told() -> bool:
        scene.show()
        return text in scene.diagnostics.newest('depth images').message

    wait_for(is_told, 'the reason', pause_s=0.05)
    assert scene.diagnostics.newest('depth images').level == DiagnosticStatus.ERROR
    assert int(scene.diagnostics.values('depth images')['dropped_refused']) > 0
    unanswered = scene.show()
    for _ in range(2):  # it must be refused first: topics have no common order
        scene.diagnostics.next('depth images')
    scene.calibrate()
    before = len(scene.clouds)
    wait_for(lambda: scene.show() and len(scene.clouds) > before, 'a cloud', pause_s=0.05)
    assert not scene.is_answered(unanswered)
    scene.diagnostics.wait_for_level('depth images', DiagnosticStatus.OK)


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
    scene: Scene, fields: dict[str, Any], told: str
) -> None:
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, **({'encoding': '16UC1'} | fields))
    scene.publish('mask', MASK, 'mono8')
    scene.diagnostics.wait_for_message('depth images', told)
    assert scene.see().width == 8


def test_stamps_that_go_back_are_no_end(scene: Scene) -> None:
    now_ns = scene.stamp_ns
    scene.stamp_ns -= 3_600_000_000_000
    assert scene.see().width == 8
    scene.stamp_ns = now_ns
    assert scene.see().width == 8


@pytest.fixture
def set_cloud(scene: Scene) -> Iterator[Callable[..., None]]:
    """Set parameters for the length of a test."""
    changed: dict[str, Any] = {}

    def set_cloud(**values: Any) -> None:
        changed.update(zip(values, scene.peer.get_values(NODE, *values), strict=True))
        assert scene.peer.try_to_set(NODE, **values).successful

    yield set_cloud
    assert scene.peer.try_to_set(NODE, **changed).successful


def test_parameters_change_the_next_cloud(scene: Scene, set_cloud: Callable[..., None]) -> None:
    set_cloud(stride=2, max_range=1.0)
    cloud = scene.see()
    assert (cloud.height, cloud.width) == (3, 4)
    assert np.isnan(points_of(cloud)['z']).all()


def test_bad_parameter_is_refused_with_a_reason(scene: Scene) -> None:
    answer = scene.peer.try_to_set(NODE, stride=0)
    assert not answer.successful
    assert 'stride' in answer.reason


def test_filtered_cloud_has_the_classes_asked_for(
    scene: Scene, set_cloud: Callable[..., None]
) -> None:
    filtered = scene.listen(PointCloud2, 'points/filtered')
    depth = DEPTH.copy()
    depth[0] = 0
    set_cloud(keep_labels=['car', 'cat'])
    found = answer_to(filtered, scene.see(depth).header)
    assert (points_of(found)['label'] == 1).all()
    assert (found.height, found.width, found.is_dense) == (1, 20, True)
    status = scene.diagnostics.wait_for_level('clouds', DiagnosticStatus.WARN)
    assert status.message == '`keep_labels` has no such class: cat'


def test_classes_become_channels_of_both_clouds(
    scene: Scene, set_cloud: Callable[..., None]
) -> None:
    before = scene.see()
    filtered = scene.listen(PointCloud2, 'points/filtered')
    set_cloud(channels=['car', 'sky'])
    cloud = scene.see()
    clouds = {'points': cloud, 'filtered': answer_to(filtered, cloud.header)}
    point = point_type(['car', 'sky'])
    for made in clouds.values():
        assert [field.name for field in made.fields] == [*FIELDS, 'car', 'sky']
        points = np.frombuffer(made.data, point)
        is_car = points['label'] == 1
        assert 0 < is_car.sum() < len(points)
        assert (points['car'] == is_car).all()  # the confidence is 1: nobody publishes it
        assert (points['sky'] == ~is_car).all()
    assert scene.peer.try_to_set(NODE, channels=['']).successful
    after = scene.see()
    assert (after.fields, after.point_step) == (before.fields, 28)
    assert after.data.tobytes() == before.data.tobytes()


def test_a_channel_that_is_no_class_makes_no_cloud_and_says_which_there_are(
    scene: Scene, set_cloud: Callable[..., None]
) -> None:
    set_cloud(channels=['car', 'lawn'])
    scene.show()
    status = scene.diagnostics.wait_for_level('depth images', DiagnosticStatus.ERROR)
    assert '`channels` must be of the classes sky, car, got lawn' in status.message
    refused = scene.peer.try_to_set(NODE, channels=['car', 'label'])
    assert not refused.successful
    assert '`channels` must have other names than the fields x, y, z, rgb' in refused.reason
    assert refused.reason.endswith('got label')
    assert scene.peer.try_to_set(NODE, channels=['car']).successful
    assert scene.see().point_step == 32


def test_mask_and_confidence_come_in_the_size_of_the_cloud(scene: Scene) -> None:
    masks = scene.listen(Image, 'points/mask')
    confidences = scene.listen(Image, 'points/confidence')
    cloud = scene.see(DEPTH[::2, ::2].copy())
    mask, confidence = (answer_to(images, cloud.header) for images in (masks, confidences))
    for image in (mask, confidence):
        assert (image.height, image.width, image.step, image.encoding) == (3, 4, 4, 'mono8')
    assert bytes(mask.data) == MASK[::2, ::2].tobytes()
    assert bytes(confidence.data) == b'\xff' * 12


@pytest.fixture
def triples(scene: Scene) -> list[list[Any]]:
    """Mask, confidence and cloud as they come; the node publishes all of them from now on."""
    kinds = {'points/mask': Image, 'points/confidence': Image, 'points': PointCloud2}
    return [scene.listen(kind, topic) for topic, kind in kinds.items()]


def test_what_is_not_believed_has_no_place_and_no_confidence(
    scene: Scene, set_cloud: Callable[..., None], triples: list[list[Any]]
) -> None:
    set_cloud(drop_labels=['sky', 'cat'], stride=2)
    pixels = MASK.copy()
    pixels[:, 6:] = [255, 7]  # unlabelled, and an id without a name
    header = scene.see_with(pixels).header
    mask, confidence, cloud = (answer_to(received, header) for received in triples)
    points = points_of(cloud)
    taken = pixels[::2, ::2]
    assert (mask.height, mask.width, len(mask.data)) == (3, 4, 12)
    assert (confidence.height, confidence.width, len(confidence.data)) == (3, 4, 12)
    assert (cloud.height, cloud.width, cloud.is_dense) == (3, 4, False)
    assert bytes(mask.data) == taken.tobytes()
    assert points['label'].tolist() == taken.tolist()
    is_car = taken == 1
    assert np.array_equal(np.isfinite([points[axis] for axis in 'xyz']).all(0), is_car)
    assert np.array_equal(points['confidence'], is_car.astype(np.float32))
    assert bytes(confidence.data) == np.where(is_car, 255, 0).astype(np.uint8).tobytes()
    scene.diagnostics.wait_for_message('clouds', '`drop_labels` has no such class: cat')
    set_cloud(drop_unlabelled=False, drop_labels=[''])
    points = points_of(scene.see_with(pixels))
    assert np.isfinite(points['z']).all()


@pytest.mark.parametrize('size', [(480, 640), (12, 16)])
def test_mask_of_another_size_is_taken_as_that_of_the_depth_image(
    scene: Scene, triples: list[list[Any]], size: tuple[int, int]
) -> None:
    pixels = np.zeros(size, np.uint8)
    pixels[:, size[1] // 2 :] = 1
    header = scene.see_with(pixels).header
    mask, confidence, cloud = (answer_to(received, header) for received in triples)
    assert bytes(mask.data) == MASK.tobytes()
    assert len(confidence.data) == cloud.width * cloud.height == 48


def test_mask_of_another_view_is_refused_and_counted(scene: Scene) -> None:
    before = scene.count('dropped_refused')
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, '16UC1')
    scene.publish('mask', np.zeros((2, 3), np.uint8), 'mono8')
    told = '`mask` must have the aspect ratio of the depth image, 8 x 6, got 3 x 2'
    scene.diagnostics.wait_for_message('depth images', told)
    assert int(scene.diagnostics.values('depth images')['dropped_refused']) == before + 1
    assert scene.see().width == 8


def test_stamps_of_zero_make_no_cloud_and_are_told(scene: Scene) -> None:
    before = scene.count('dropped_bad_stamp')
    unset = Header(frame_id='optical')

    def is_told() -> bool:
        scene.publish('depth/image', DEPTH, '16UC1', header=unset)
        scene.publish('mask', MASK, 'mono8', header=unset)
        return 'the stamp of depth is 0' in scene.diagnostics.newest('clouds').message

    wait_for(is_told, 'the reason', pause_s=0.2)
    assert not scene.is_answered(unset)
    assert scene.count('dropped_bad_stamp') > before
    assert int(scene.diagnostics.values('clouds')['bad_stamps_mask']) > 0
    assert scene.see().width == 8


def test_other_frames_are_told(scene: Scene) -> None:
    scene.stamp_ns += STEP_NS
    scene.publish('depth/image', DEPTH, '16UC1', header=Header(frame_id='depth'))
    status = scene.diagnostics.wait_for_value('clouds', 'depth_frame', 'depth')
    assert status.level == DiagnosticStatus.WARN
    assert 'depth is in frame depth, the mask in optical' in status.message


def test_what_is_missing_is_told_and_confidence_is_waited_for(peer: Peer, tmp_path: Path) -> None:
    names = ('-r', '__ns:=/other', '-r', '__node:=cloud')
    topics = ('depth/image', 'mask', 'confidence', 'image')
    values = {'color': 'image', 'drop_labels': "['sky']"}
    with running_node(tmp_path / 'log', *names, program=CLOUD, **values) as other:
        publishers = {topic: peer.connect(f'/other/{topic}') for topic in topics}
        clouds = peer.listen(PointCloud2, '/other/points')
        diagnostics = Diagnostics(peer, '/other/cloud')

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
        diagnostics.wait_for_message('clouds', missing)
        info = peer.connect('/other/depth/camera_info', kind=CameraInfo)
        info.publish(CameraInfo(width=8, height=6, k=K))
        wait_for(lambda: missing not in diagnostics.newest('clouds').message, 'the calibration')
        publish(2, *topics)
        diagnostics.wait_for_message('clouds', 'no clouds: `drop_labels` or `channels` has names')
        diagnostics.wait_for_value('depth images', 'dropped_no_labels', '1')
        labels = peer.create_publisher(String, '/other/labels', LATCHED)
        labels.publish(String(data='['))
        diagnostics.wait_for_message('clouds', 'no clouds: `drop_labels` or `channels` has names')
        labels.publish(String(data=json.dumps(LABELS)))
        missing = 'no labels have come'
        wait_for(lambda: missing not in diagnostics.newest('clouds').message, 'the labels')
        publish(3, 'depth/image', 'mask', 'image')
        publish(4, *topics)
        wait_for(lambda: clouds, 'a cloud')
        assert clouds[0].header.stamp == ns_to_stamp(4 * STEP_NS)
        points = points_of(clouds[0])
        assert points['confidence'] == pytest.approx(np.where(MASK == 1, 0.2, 0.0))
        assert (points['rgb'].view(np.uint32) == 0x070707).all()
        labels.publish(String(data='['))
        diagnostics.wait_for_message('clouds', '`labels` must be ')
        publish(5, *topics)
        wait_for(lambda: len(clouds) == 2, 'a cloud by the former labels')
        assert other.stop() == 0


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_signal_under_load_ends_it_with_code_0(
    peer: Peer, tmp_path: Path, how: signal.Signals
) -> None:
    """And it hears publishers of both kinds: the masks are reliable, the depth is not."""
    arguments = ('-r', '__ns:=/load')
    with running_node(
        tmp_path / 'log', *arguments, program=CLOUD, use_confidence='false'
    ) as other:
        depth = peer.create_publisher(Image, '/load/depth/image', BEST_EFFORT)
        mask = peer.connect('/load/mask')
        clouds = peer.listen(PointCloud2, '/load/points')
        info = peer.create_publisher(CameraInfo, '/load/depth/camera_info', LATCHED)
        k = [400.0, 0.0, 320.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0]
        info.publish(CameraInfo(width=640, height=480, k=k))
        pixels = np.full((480, 640), 2000, np.uint16)
        stamp = 0

        def is_under_load() -> bool:
            nonlocal stamp
            stamp += 1
            header = Header(stamp=ns_to_stamp(stamp * STEP_NS))
            message = array_to_image(pixels.view(np.uint8), '16UC1', header)
            message.width = 640
            depth.publish(message)
            mask.publish(array_to_image(pixels.astype(np.uint8), 'mono8', header))
            return len(clouds) >= 3

        wait_for(is_under_load, 'clouds', pause_s=0.02)
        assert other.stop(how) == 0
        assert 'Traceback' not in other.log


def test_wrong_parameters_end_the_start_with_a_line_each(tmp_path: Path) -> None:
    values = {'stride': 0, 'color': 'blue', 'max_rnage': 3.0}
    process = NodeProcess(tmp_path / 'log', program=CLOUD, **values)
    assert process.wait() == 2
    assert '`stride` must be a whole number from 1 to 64, got 0' in process.log
    assert "`color` must be one of class, image, got 'blue'" in process.log


def test_it_needs_no_torch() -> None:
    code = 'import sys, dcfm_ros.cloud.node; sys.exit("torch" in sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
