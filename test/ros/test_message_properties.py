"""Whatever the fields of a message say, there is an answer or a refusal that names the field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
import math
from pathlib import Path
import re
import resource
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest
from random_messages import (
    FILES,
    FRAME_IDS,
    STAMPS,
    camera_infos,
    compressed_images,
    images,
    pixels_of,
)

from dcfm_ros.images.calibration import Window, camera_info_of_mask, intrinsics_of
from dcfm_ros.images.compressed import compressed_to_rgb
from dcfm_ros.images.depth import image_to_depth, image_to_ids
from dcfm_ros.images.raw import MAX_PIXELS, MAX_SIDE, image_to_rgb

BAYER = 'bayer_rggb{0} bayer_bggr{0} bayer_gbrg{0} bayer_grbg{0}'
YUV422 = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv')
BYTES_PER_PIXEL = {
    1: 'mono8 8UC1 nv12 nv21 ' + BAYER.format(8),
    2: 'mono16 16UC1 ' + ' '.join(YUV422) + ' ' + BAYER.format(16),
    3: 'rgb8 bgr8 8UC3',
    4: 'rgba8 bgra8',
    6: 'rgb16 bgr16 16UC3',
    8: 'rgba16 bgra16',
}
MANY = settings(max_examples=500, deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True)
def modest() -> Iterator[None]:
    """No message of this module is larger than 40 kB, so no work on one takes a gigabyte more."""
    pages = int(Path('/proc/self/statm').read_text().split()[5])
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def try_to(read: Callable[[], Any], fields: str) -> Any | None:
    """What is read, or None if it is refused with a message that begins with a field's name."""
    try:
        return read()
    except ValueError as error:
        assert re.match(rf'`({fields})`', str(error)), error
        return None


def is_image(message: Any) -> bool:
    """What sensor_msgs/Image and its image_encodings define, in other words."""
    encoding, height, width = message.encoding, message.height, message.width
    size = next((size for size, names in BYTES_PER_PIXEL.items() if encoding in names.split()), 0)
    is_halved = encoding in ('nv12', 'nv21')
    if size == 0 or (encoding.startswith('bayer') and min(height, width) < 3):
        return False
    if width % 2 and (is_halved or encoding in YUV422):
        return False
    if height % 2 and is_halved:
        return False
    rows = height * 3 // 2 if is_halved else height
    has_all = message.step >= width * size and len(message.data) >= rows * message.step
    return has_all and 0 < height * width <= MAX_PIXELS and max(height, width) <= MAX_SIDE


def image_of(encoding: str, height: int, width: int, step: int, size: int) -> dict[str, Any]:
    fields = {'height': height, 'width': width, 'step': step, 'is_bigendian': 0}
    return fields | {'encoding': encoding, 'data': pixels_of(b'\x07\xa0\x33', size)}


@MANY
@example(image_of('rgb8', 2**32 - 1, 2**32 - 1, 2**32 - 1, 9))
@example(image_of('mono8', 1, 2**24, 2**24, 40_000))
@example(image_of('mono8', 1, 20_000, 20_000, 20_000))
@example(image_of('nv12', 2, 2, 2, 6))
@example(image_of('bayer_rggb16', 3, 3, 6, 18))
@example(image_of('', 0, 0, 0, 0))
@given(images())
def test_image_becomes_rgb_or_is_refused_by_field(fields: dict[str, Any]) -> None:
    message = SimpleNamespace(**fields)
    before = bytes(message.data)
    rgb = try_to(lambda: image_to_rgb(message), 'encoding|height|width|width` x `height|step|data')
    assert (rgb is not None) == is_image(message)
    if rgb is not None:
        assert (rgb.shape, rgb.dtype) == ((message.height, message.width, 3), np.uint8)
    assert bytes(message.data) == before


@MANY
@given(compressed_images())
def test_compressed_image_becomes_rgb_or_is_refused(fields: dict[str, Any]) -> None:
    message = SimpleNamespace(**fields)
    rgb = try_to(lambda: compressed_to_rgb(message), 'data|format|width` x `height')
    if rgb is not None:
        assert (rgb.dtype, rgb.shape[2:]) == (np.uint8, (3,))
        assert rgb.flags.c_contiguous


@pytest.mark.parametrize('number', range(len(FILES)))
def test_every_file_that_was_left_alone_is_decoded_but_one(number: int) -> None:
    """Or the test above would look at refusals only."""
    message = SimpleNamespace(format='', data=FILES[number])
    is_bmp = FILES[number].startswith(b'BM')
    assert (try_to(lambda: compressed_to_rgb(message), 'data') is None) == is_bmp


@MANY
@given(images(), st.floats(0, 10), st.floats(0, 10))
def test_depth_is_metres_or_nan(fields: dict[str, Any], nearest: float, farthest: float) -> None:
    for encoding in (fields['encoding'], '32FC1', '16UC1'):
        message = SimpleNamespace(**(fields | {'encoding': encoding}))
        names = 'encoding|step|data|width` x `height'
        depth = try_to(lambda m=message: image_to_depth(m, nearest, farthest), names)  # type: ignore[misc]
        if depth is not None:
            assert (depth.shape, depth.dtype) == ((message.height, message.width), np.float32)
            known = depth[~np.isnan(depth)]
            assert ((known > 0) & np.isfinite(known)).all()
            assert (known >= np.float32(nearest)).all()


@MANY
@given(images())
def test_mask_is_ids_or_is_refused(fields: dict[str, Any]) -> None:
    message = SimpleNamespace(**fields)
    ids = try_to(lambda: image_to_ids(message, 'mask'), 'encoding|step|data|width` x `height')
    if ids is not None:
        assert (ids.shape, ids.dtype) == ((message.height, message.width), np.uint8)


def info_of(fields: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(
        **(fields | {'roi': SimpleNamespace(do_rectify=False, **fields['roi']), 'header': 'its'})
    )


def size_of(info: Any) -> tuple[int, int]:
    window = Window.of(info)
    return window.height, window.width


SIZES = st.tuples(st.integers(1, 100), st.integers(1, 100))


@MANY
@given(camera_infos(), SIZES, SIZES, st.booleans())
def test_calibration_fits_the_mask_or_is_refused(
    fields: dict[str, Any], size: tuple[int, int], mask_size: tuple[int, int], fits: bool
) -> None:
    info = info_of(fields)
    if fits and min(size_of(info)) > 0:
        size = size_of(info)
    before = repr(info)
    made = try_to(lambda: camera_info_of_mask(info, 'header', size, mask_size), 'camera_info')
    assert (made is not None) == (size_of(info) == size)
    if made is not None:
        assert size_of(made) == mask_size
        assert (made.header, made.d) == ('header', info.d) or any(map(math.isnan, info.d))
        assert (len(made.k), len(made.p)) == (9, 12)
    assert repr(info) == before


@MANY
@given(camera_infos(), SIZES)
def test_depth_camera_has_focal_lengths_or_is_refused(
    fields: dict[str, Any], size: tuple[int, int]
) -> None:
    camera = try_to(lambda: intrinsics_of(info_of(fields), *size), 'camera_info')
    if camera is not None:
        assert (camera.width, camera.height) == size
        assert np.isfinite([camera.fx, camera.fy, camera.cx, camera.cy]).all()


class Output:
    """A topic with a listener: keeps what the middleware would make of a message."""

    def __init__(self) -> None:
        self.newest: Any = None

    def publish(self, message: Any) -> None:
        from rclpy.serialization import deserialize_message, serialize_message

        self.newest = deserialize_message(serialize_message(message), type(message))

    def get_subscription_count(self) -> int:
        return 1


class Bench:
    """A processor with a real network, and all that it publishes."""

    def __init__(self, transport: str) -> None:
        from small_net import make_net

        from dcfm_ros.engine import SegmentationEngine
        from dcfm_ros.engine_options import EngineOptions
        from dcfm_ros.ros.camera_info_relay import CameraInfoRelay
        from dcfm_ros.ros.camera_topics import OUTPUTS
        from dcfm_ros.ros.frame_processor import FrameProcessor
        from dcfm_ros.ros.health.stream_statistics import StreamStatistics
        from dcfm_ros.ros.mask_outputs import MaskOutputs
        from dcfm_ros.ros.parameters.segmentation import NodeParameters

        self.outputs = {name: Output() for name in OUTPUTS}
        self.statistics = StreamStatistics()
        self.calibration = CameraInfoRelay(lambda text: None)
        values = NodeParameters(
            image_transport=transport, publish_camera_info=True, output_width=20
        )
        options = EngineOptions(device='cpu', backend='torch', inference_height=32)
        net = make_net()
        self.processor = FrameProcessor(
            SegmentationEngine(net, options),
            MaskOutputs(
                self.outputs, net.palette, node_name='/bench', camera_info=self.calibration
            ),
            self.statistics,
            values=lambda: values,
            logger=SimpleNamespace(error=lambda text, **_: None),
            log_prefix='',
            clock_ns=lambda: 0,
        )

    def take(self, message: Any) -> bool:
        """Process a message; whether it was answered, and not refused."""
        from dcfm_ros.ros.frame_slot import Frame

        before = self.statistics.snapshot(0.0)
        self.processor.process(Frame(message, 0.0))
        after = self.statistics.snapshot(0.0)
        answered = after.answered - before.answered
        refused = after.dropped['refused'] - before.dropped['refused']
        assert answered + refused == 1
        return answered == 1


@pytest.fixture(scope='module')
def make_bench() -> Callable[[str], Bench]:
    pytest.importorskip('rclpy')
    made: dict[str, Bench] = {}

    def make(transport: str) -> Bench:
        if transport not in made:
            made[transport] = Bench(transport)
        return made[transport]

    return make


def header_of(stamp: tuple[int, int], frame_id: str) -> Any:
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)


SOME = settings(
    MANY, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SOME
@given(images(st.sampled_from([0, 1, 3, 24, 32])), STAMPS, FRAME_IDS, camera_infos())
def test_every_image_is_answered_with_its_header_or_counted_as_refused(
    make_bench: Callable[[str], Bench],
    fields: dict[str, Any],
    stamp: tuple[int, int],
    frame_id: str,
    info: dict[str, Any],
) -> None:
    from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

    bench = make_bench('raw')
    calibration = CameraInfo(**(info | {'roi': RegionOfInterest(**info['roi'])}))
    if calibration.width % 2:
        calibration = CameraInfo(height=fields['height'], width=fields['width'], k=info['k'])
    bench.calibration.receive(calibration)
    message = Image(header=header_of(stamp, frame_id), **copy.copy(fields))
    is_answered = bench.take(message)
    assert is_answered == is_image(message)
    if is_answered:
        for name in ('mask', 'confidence', 'color_mask', 'overlay'):
            output = bench.outputs[name].newest
            assert (output.header, output.height, output.width) == (
                message.header, message.height, 20,
            )  # fmt: skip
        assert max(_bytes(bench.outputs['mask'].newest)) < 11
        assert bench.outputs['timing'].newest.header == message.header


@SOME
@given(compressed_images(), STAMPS)
def test_every_compressed_image_is_answered_or_counted_as_refused(
    make_bench: Callable[[str], Bench], fields: dict[str, Any], stamp: tuple[int, int]
) -> None:
    from sensor_msgs.msg import CompressedImage

    bench = make_bench('compressed')
    message = CompressedImage(header=header_of(stamp, 'camera'), **fields)
    if bench.take(message):
        assert bench.outputs['mask'].newest.header == message.header
    good = CompressedImage(header=header_of(stamp, 'good'), format='', data=FILES[0])
    assert bench.take(good)
    assert bench.outputs['mask'].newest.header == good.header


def _bytes(message: Any) -> NDArray[np.uint8]:
    return np.frombuffer(message.data, np.uint8)
