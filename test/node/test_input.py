"""What a real node takes in and gives out: transports, encodings, sizes, quality of service."""

from __future__ import annotations

import array
from collections.abc import Iterator
from pathlib import Path
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
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
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
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
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp('weights') / 'tiny.safetensors')


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
def peer(packed: NodeProcess, raw: NodeProcess) -> Iterator[Peer]:
    with running_peer() as running:
        yield running


class Health:
    """The newest word of the nodes on a task."""

    def __init__(self, peer: Peer) -> None:
        self.messages = peer.listen(DiagnosticArray, '/diagnostics')

    def status(self, name: str) -> DiagnosticStatus | None:
        reported = (s for message in reversed(self.messages[-20:]) for s in message.status)
        return next((s for s in reported if s.name == name), None)

    def value(self, name: str, key: str) -> str:
        status = self.status(name)
        values = {} if status is None else {entry.key: entry.value for entry in status.values}
        return values.get(key, '')

    def wait_for(self, name: str, key: str, value: str) -> None:
        wait_for(lambda: self.value(name, key) == value, f'{key} {value} of {name}')


@pytest.fixture(scope='module')
def health(peer: Peer) -> Health:
    return Health(peer)


def answer(received: list[Any], header: Header) -> Any:
    wait_for(lambda: any(m.header == header for m in received), f'an answer to {header}')
    return next(m for m in received if m.header == header)


class PackedCamera:
    """Sends compressed images."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.masks = peer.listen(Image, '/packed/mask')
        self.timings = peer.listen(DiagnosticArray, f'{PACKED}/timing')
        topic = '/camera/image_raw/compressed'
        self.images = peer.create_publisher(CompressedImage, topic, 10)
        wait_for(self.images.get_subscription_count, f'a subscription of {topic}')
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
        mask: Image = answer(self.masks, message.header)
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
        mask = answer(self.masks, message.header)
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
    (status,) = answer(camera.timings, message.header).status
    values = {entry.key: entry.value for entry in status.values}
    assert float(values['decode_image_ms']) > 0
    assert 'convert_ms' not in values


def test_damaged_jpegs_in_a_stream_are_refused_and_counted(
    camera: PackedCamera, packed: NodeProcess, health: Health
) -> None:
    task = f'{PACKED}: images'
    camera.ask(camera.image('.jpg'))
    wait_for(lambda: health.value(task, 'dropped_refused'), 'diagnostics')
    refused = int(health.value(task, 'dropped_refused'))
    for index, share in enumerate((0.5, 0.9, 0.0)):
        damaged = camera.image('.jpg', share)
        camera.images.publish(damaged)
        health.wait_for(task, 'dropped_refused', str(refused + index + 1))
        camera.ask(camera.image('.jpg'))
        assert not any(mask.header == damaged.header for mask in camera.masks)
    packed.wait_for_log('refused an image: `data` must be a whole JPEG image, got one cut off')


def test_topic_of_the_compressed_images_is_told(health: Health) -> None:
    task = f'{PACKED}: images'
    wait_for(lambda: health.value(task, 'topic'), 'diagnostics')
    assert health.value(task, 'topic') == '/camera/image_raw/compressed'


def test_png_is_the_mask(camera: PackedCamera) -> None:
    pngs = camera.peer.listen(CompressedImage, '/packed/mask/compressed')
    camera.ask(camera.image())  # the node must see that somebody listens
    wait_for(lambda: camera.ask(camera.image()) and pngs, 'a compressed mask')
    message = camera.image()
    mask, png = camera.ask(message), answer(pngs, message.header)
    assert png.format == 'mono8; png compressed mono8'
    pixels = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(pixels.ravel(), np.frombuffer(mask.data, np.uint8))


@pytest.fixture
def quarter(camera: PackedCamera) -> Iterator[None]:
    """Masks of half the width and a third of the height."""
    sizes = {'output_width': 64, 'output_height': 32}
    for name, value in sizes.items():
        assert set_parameter(camera.peer, PACKED, name, value).successful
    yield
    for name in sizes:
        assert set_parameter(camera.peer, PACKED, name, 0).successful


@pytest.mark.usefixtures('quarter')
def test_all_images_have_the_output_size(camera: PackedCamera) -> None:
    topics = ('confidence', 'color_mask', 'overlay')
    received = [camera.peer.listen(Image, f'/packed/{topic}') for topic in topics]
    wait_for(lambda: camera.ask(camera.image()) and all(received), 'all images')
    message = camera.image()
    images = [camera.ask(message), *(answer(r, message.header) for r in received)]
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
    info = answer(infos, message.header)
    assert (info.height, info.width, list(info.d)) == (32, 64, [0.1, 0.2])
    np.testing.assert_allclose(info.k, [50, 0, 31.5, 0, 40, 16, 0, 0, 1])


def test_camera_info_of_another_size_is_told_and_not_published(
    camera: PackedCamera, packed: NodeProcess, health: Health, calibration: Any
) -> None:
    infos = camera.peer.listen(CameraInfo, '/packed/mask/camera_info')
    task, told = f'{PACKED}: images', '`camera_info` must be of 128 x 96 images'

    def is_told() -> bool:
        calibration.publish(CameraInfo(height=480, width=640))
        camera.ask(camera.image())
        return told in health.value(task, 'camera_info')

    wait_for(is_told, 'the diagnostics', pause_s=0.1)
    status = health.status(task)
    assert status is not None
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


def test_reliability_follows_the_publisher_both_ways(peer: Peer, health: Health) -> None:
    masks = peer.listen(Image, '/raw/side/mask')
    for reliability in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE):
        with running_peer() as other:
            qos = QoSProfile(depth=10, reliability=reliability)
            publisher = other.create_publisher(Image, '/raw/side/image', qos)
            health.wait_for(f'{RAW}: side images', 'reliability', reliability.name.lower())
            _wait_for_answer(publisher, other, masks)


def _wait_for_answer(publisher: Any, peer: Peer, masks: list[Image]) -> None:
    headers = []

    def answered() -> bool:
        message = peer.image()
        headers.append(message.header)
        publisher.publish(message)
        time.sleep(0.1)
        return any(mask.header in headers for mask in masks)

    wait_for(answered, 'a mask')


def test_override_wins_over_the_publisher(peer: Peer, raw: NodeProcess, health: Health) -> None:
    task = f'{RAW}: front images'
    with running_peer() as other:
        other.create_publisher(Image, '/raw/front/image', 10)
        health.wait_for(task, 'publishers', '1')
        before = len(health.messages)
        wait_for(lambda: len(health.messages) > before + 4, 'two rounds of matching')
        assert health.value(task, 'reliability') == 'best_effort'
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
    result = set_parameter(peer, RAW, name, 5)
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
