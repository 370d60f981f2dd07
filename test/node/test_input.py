"""What a real node takes in and gives out: transports, encodings, sizes, quality of service."""

from __future__ import annotations

import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from peer import (
    BEST_EFFORT,
    LATCHED,
    Diagnostics,
    Peer,
    answer_to,
    parameter,
    running_peer,
    values_of,
)
from rclpy.qos import QoSProfile, ReliabilityPolicy
from running_node import NodeProcess, running_node, wait_for
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

pytestmark = pytest.mark.dds
PACKED, RAW = '/packed/segmentation_node', '/raw/segmentation_node'
OVERRIDES = """
/**:
  ros__parameters:
    cameras: [front, rear, side]
    qos_overrides:
      /raw/front/image:
        subscription: {reliability: best_effort, depth: 3}
      /raw/front/mask:
        publisher: {reliability: best_effort}
      /raw/image:
        subscription: {depth: 2}
"""
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
RGB = np.asarray(cv2.resize(PIXELS, (128, 96), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope='module')
def packed(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Takes the compressed images of a remapped camera, with calibration."""
    remappings = ('-r', '__ns:=/packed', '-r', 'image:=/camera/image_raw')
    values = {'image_transport': 'compressed', 'publish_camera_info': 'true', 'cpu_threads': 1}
    log = tmp_path_factory.mktemp('packed') / 'log'
    with running_node(log, *remappings, checkpoint=checkpoint, **values) as process:
        yield process


@pytest.fixture(scope='module')
def raw(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Takes raw images of three cameras, of which one has overrides."""
    folder = tmp_path_factory.mktemp('raw')
    file = folder / 'overrides.yaml'
    file.write_text(OVERRIDES)
    arguments = ('-r', '__ns:=/raw', '--params-file', str(file))
    with running_node(folder / 'log', *arguments, checkpoint=checkpoint, cpu_threads=1) as process:
        yield process


@pytest.fixture(scope='module')
def node(packed: NodeProcess, raw: NodeProcess) -> NodeProcess:
    """What the peer of this module talks to, and the other one."""
    return packed


@pytest.fixture(scope='module')
def packed_health(peer: Peer) -> Diagnostics:
    return Diagnostics(peer, PACKED)


@pytest.fixture(scope='module')
def raw_health(peer: Peer) -> Diagnostics:
    return Diagnostics(peer, RAW)


class PackedCamera:
    """Sends compressed images."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.masks = peer.listen(Image, '/packed/mask')
        self.timings = peer.listen(DiagnosticArray, f'{PACKED}/timing')
        topic = '/camera/image_raw/compressed'
        self.images = peer.connect(topic, kind=CompressedImage)
        self.ask(self.image())  # connected in both directions, once this is answered

    def image(self, suffix: str = '.png', share: float = 1.0) -> CompressedImage:
        """`RGB`, of which only a share of the bytes is left."""
        data = bytes(cv2.imencode(suffix, RGB[..., ::-1])[1])
        message = CompressedImage(header=self.peer.image(1, 1).header)
        message.format = f'rgb8; {suffix[1:]} compressed bgr8'
        message.data = array.array('B', data[: int(len(data) * share)])
        return message

    def ask(self, message: CompressedImage) -> Image:
        self.images.publish(message)
        mask: Image = answer_to(self.masks, message.header)
        return mask


@pytest.fixture(scope='module')
def camera(peer: Peer) -> PackedCamera:
    return PackedCamera(peer)


class RawCamera:
    """Sends raw images as the camera called rear."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.masks = peer.listen(Image, '/raw/rear/mask')
        self.images = peer.connect('/raw/rear/image')

    def ask(self, pixels: NDArray[np.uint8], encoding: str) -> NDArray[np.uint8]:
        height, width = pixels.shape[:2]
        message = self.peer.image(height, width, encoding=encoding, step=pixels[0].size)
        message.data = array.array('B', np.ascontiguousarray(pixels).tobytes())
        self.peer.call(Trigger, f'{RAW}/reset')
        self.images.publish(message)
        mask = answer_to(self.masks, message.header)
        return np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)


@pytest.fixture(scope='module')
def rear(peer: Peer) -> RawCamera:
    return RawCamera(peer)


def test_compressed_image_gives_the_mask_of_the_raw_one(
    camera: PackedCamera, rear: RawCamera
) -> None:
    camera.peer.call(Trigger, f'{PACKED}/reset')
    mask = camera.ask(camera.image('.png'))
    assert (mask.height, mask.width, mask.encoding) == (96, 128, 'mono8')
    assert mask.data.tobytes() == rear.ask(RGB, 'rgb8').tobytes()


def test_decoding_is_a_stage_of_its_own(camera: PackedCamera) -> None:
    message = camera.image('.jpg')
    camera.ask(message)
    (status,) = answer_to(camera.timings, message.header).status
    values = {entry.key: entry.value for entry in status.values}
    assert float(values['decode_image_ms']) > 0
    assert 'convert_ms' not in values


def test_damaged_jpegs_in_a_stream_are_refused_and_counted(
    camera: PackedCamera, packed: NodeProcess, packed_health: Diagnostics
) -> None:
    camera.ask(camera.image('.jpg'))
    refused = int(values_of(packed_health.next('images'))['dropped_refused'])
    for count, share in enumerate((0.5, 0.0), refused + 1):
        damaged = camera.image('.jpg', share)
        camera.images.publish(damaged)
        # Or the next one would replace it.
        packed_health.wait_for_value('images', 'dropped_refused', str(count))
        camera.ask(camera.image('.jpg'))
        assert not any(mask.header == damaged.header for mask in camera.masks)
    packed.wait_for_log('refused an image: `data` must be a whole JPEG image, got one cut off')


def test_topic_of_the_compressed_images_is_told(packed_health: Diagnostics) -> None:
    assert packed_health.values('images')['topic'] == '/camera/image_raw/compressed'


def test_topic_of_another_type_is_told(peer: Peer, raw_health: Diagnostics) -> None:
    """DDS does not match it, so nothing would ever come."""
    compressed = peer.create_publisher(CompressedImage, '/raw/side/image', 1)
    expected = '/raw/side/image carries sensor_msgs/msg/CompressedImage; sensor_msgs/msg/Image is'
    raw_health.wait_for_message('side images', expected)
    raw_health.wait_for_message('side masks', f'no masks: {expected}')
    peer.end(compressed)
    raw_health.wait_for_message('side images', 'no image for')


def test_png_is_the_mask(camera: PackedCamera) -> None:
    pngs = camera.peer.listen(CompressedImage, '/packed/mask/compressed')
    camera.ask(camera.image())  # the node must see that somebody listens
    wait_for(lambda: camera.ask(camera.image()) and pngs, 'a compressed mask')
    message = camera.image()
    mask, png = camera.ask(message), answer_to(pngs, message.header)
    assert png.format == 'mono8; png compressed mono8'
    pixels = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(pixels.ravel(), np.frombuffer(mask.data, np.uint8))


@pytest.fixture
def quarter(peer: Peer) -> Iterator[None]:
    """Masks of half the width and a third of the height."""
    assert peer.try_to_set(PACKED, output_width=64, output_height=32).successful
    yield
    assert peer.try_to_set(PACKED, output_width=0, output_height=0).successful


@pytest.mark.usefixtures('quarter')
def test_all_images_have_the_output_size(camera: PackedCamera) -> None:
    topics = ('confidence', 'color_mask', 'overlay')
    received = [camera.peer.listen(Image, f'/packed/{topic}') for topic in topics]
    wait_for(lambda: camera.ask(camera.image()) and all(received), 'all images')
    message = camera.image()
    images = [camera.ask(message), *(answer_to(r, message.header) for r in received)]
    assert [(image.height, image.width) for image in images] == [(32, 64)] * 4
    assert [len(image.data) for image in images] == [2048, 2048, 6144, 6144]


@pytest.mark.usefixtures('quarter')
def test_small_mask_has_the_pixels_under_the_centres(
    camera: PackedCamera, rear: RawCamera
) -> None:
    camera.peer.call(Trigger, f'{PACKED}/reset')
    small = np.frombuffer(camera.ask(camera.image()).data, np.uint8).reshape(32, 64)
    np.testing.assert_array_equal(small, rear.ask(RGB, 'rgb8')[1::3, 1::2])


@pytest.fixture(scope='module')
def calibration(peer: Peer) -> Any:
    """Publishes once, for whoever comes later."""
    return peer.create_publisher(CameraInfo, '/packed/camera_info', LATCHED)


@pytest.mark.usefixtures('quarter')
def test_camera_info_is_scaled_and_has_the_header_of_the_mask(
    camera: PackedCamera, calibration: Any
) -> None:
    infos = camera.peer.listen(CameraInfo, '/packed/mask/camera_info')
    k = [100.0, 0.0, 63.0, 0.0, 120.0, 48.0, 0.0, 0.0, 1.0]
    calibration.publish(CameraInfo(height=96, width=128, k=k, d=[0.1, 0.2]))
    wait_for(lambda: camera.ask(camera.image()) and infos, 'a camera_info')
    message = camera.image()
    camera.ask(message)
    info = answer_to(infos, message.header)
    assert (info.height, info.width, list(info.d)) == (32, 64, [0.1, 0.2])
    np.testing.assert_allclose(info.k, [50, 0, 31.5, 0, 40, 16, 0, 0, 1])


def test_camera_info_of_another_size_is_told_and_not_published(
    camera: PackedCamera, packed: NodeProcess, packed_health: Diagnostics, calibration: Any
) -> None:
    infos = camera.peer.listen(CameraInfo, '/packed/mask/camera_info')
    told = '`camera_info` must be of 128 x 96 images'

    def is_told() -> bool:
        calibration.publish(CameraInfo(height=480, width=640))
        camera.ask(camera.image())
        return told in packed_health.values('images')['camera_info']

    wait_for(is_told, 'the diagnostics', pause_s=0.1)
    status = packed_health.newest('images')
    assert (status.level, 'got 640 x 480' in status.message) == (DiagnosticStatus.WARN, True)
    packed.wait_for_log(f'mask/camera_info is not published: {told}')
    message = camera.image()
    camera.ask(message)
    assert not any(info.header == message.header for info in infos)
    assert packed.log.count('mask/camera_info is not published') == 1


def test_mosaic_gives_the_mask_of_its_colours(rear: RawCamera) -> None:
    """Colours that change from pixel to pixel are lost; those of an even image are not."""
    even = np.full((96, 128, 3), (200, 100, 30), np.uint8)
    cell = np.array([[200, 100], [100, 30]], np.uint8)
    mosaic = np.tile(cell, (48, 64))
    expected = rear.ask(even, 'rgb8')
    np.testing.assert_array_equal(rear.ask(mosaic, 'bayer_rggb8'), expected)
    wide = (mosaic.astype('<u2') << 8)[..., None].view(np.uint8)
    np.testing.assert_array_equal(rear.ask(wide, 'bayer_rggb16'), expected)


def test_reliability_follows_the_publisher_both_ways(peer: Peer, raw_health: Diagnostics) -> None:
    masks = peer.listen(Image, '/raw/side/mask')
    for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
        with running_peer() as other:
            qos = QoSProfile(depth=10, reliability=reliability)
            publisher = other.create_publisher(Image, '/raw/side/image', qos)
            raw_health.wait_for_value('side images', 'reliability', reliability.name.lower())
            headers = []

            def is_answered() -> bool:
                message = other.image()
                headers.append(message.header)  # noqa: B023
                publisher.publish(message)  # noqa: B023
                return any(mask.header in headers for mask in masks)  # noqa: B023

            wait_for(is_answered, 'a mask', pause_s=0.1)


@pytest.mark.parametrize('pause_s', [0.0, 0.05], ids=['many images', 'few images'])
def test_no_image_is_lost_while_reliability_changes(
    peer: Peer, raw: NodeProcess, raw_health: Diagnostics, pause_s: float
) -> None:
    """Nor counted as lost: numbers of few images look like those of a publisher that is new."""
    topic, task = '/raw/side/image', 'side images'
    with running_peer() as other:
        masks = other.listen(Image, '/raw/side/mask')
        images = other.create_publisher(Image, topic, 10)
        best_effort = other.create_publisher(Image, topic, BEST_EFFORT)
        raw_health.wait_for_value(task, 'publishers', '2')
        raw_health.wait_for_value(task, 'reliability', 'best_effort')

        def ask() -> object:
            image = other.image()
            images.publish(image)
            return answer_to(masks, image.header)

        def is_heard() -> bool:
            images.publish(other.image())
            return bool(masks)

        wait_for(is_heard, 'a mask', pause_s=0.1)  # the publisher may not know the node before
        ask()
        lost = values_of(raw_health.next(task))['dropped_lost']
        changes = raw.log.count(f'resubscribing to {topic}')
        other.end(best_effort)
        wait_for(
            lambda: ask() and raw.log.count(f'resubscribing to {topic}') > changes,
            'another reliability',
            pause_s,
        )
        for _ in range(3):
            ask()
        assert values_of(raw_health.next(task))['dropped_lost'] == lost
        stamps = [(mask.header.stamp.sec, mask.header.stamp.nanosec) for mask in masks]
        assert len(stamps) == len(set(stamps))  # both subscriptions got some, one answered


def test_override_wins_over_the_publisher(
    peer: Peer, raw: NodeProcess, raw_health: Diagnostics
) -> None:
    with running_peer() as other:
        other.create_publisher(Image, '/raw/front/image', 10)
        raw_health.wait_for_value('front images', 'publishers', '1')
        for _ in range(2):  # rounds of matching
            raw_health.next('front images')
        assert raw_health.values('front images')['reliability'] == 'best_effort'
    assert 'resubscribing to /raw/side/image' in raw.log
    assert 'resubscribing to /raw/front/image' not in raw.log
    (image,) = peer.get_subscriptions_info_by_topic('/raw/front/image')
    (mask,) = peer.get_publishers_info_by_topic('/raw/front/mask')
    assert image.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert mask.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


def test_override_that_fits_no_topic_is_told(raw: NodeProcess) -> None:
    raw.wait_for_log('`qos_overrides./raw/image.subscription.depth` is ignored; there are')
    assert raw.log.count('is ignored') == 1


def test_override_is_not_changed_later(peer: Peer) -> None:
    name = 'qos_overrides./raw/front/image.subscription.depth'
    (result,) = peer.set_each(RAW, parameter(name, 5))
    assert not result.successful
    assert result.reason == f'`{name}` can be given at start only'


@pytest.mark.parametrize(
    ('topic', 'asked', 'policy'),
    [('front/mask', QoSProfile(depth=1), 'RELIABILITY'), ('rear/mask', LATCHED, 'DURABILITY')],
)
def test_subscriber_that_asks_for_more_is_told(
    peer: Peer, raw: NodeProcess, topic: str, asked: QoSProfile, policy: str
) -> None:
    peer.create_subscription(Image, f'/raw/{topic}', print, asked)
    expected = f"topic '{topic}', requesting incompatible QoS."
    wait_for(
        lambda: any(expected in line and policy in line for line in raw.log.splitlines()),
        f'{policy} in the log',
    )
