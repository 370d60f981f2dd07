"""Depth and mask as points in space and as a message."""

from __future__ import annotations

import array
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

from dcfm_ros.cloud.points import (
    POINT,
    believe,
    fill_channels,
    fill_points,
    on_depth_grid,
    pack_rgb,
    point_type,
    select_points,
)
from dcfm_ros.images.calibration import Intrinsics
from dcfm_ros.images.depth import image_to_depth, image_to_ids
from dcfm_ros.ros.parameters.cloud import FIELDS

CAMERA = Intrinsics(width=4, height=3, fx=2.0, fy=4.0, cx=1.0, cy=0.5)


def image(pixels: NDArray[Any], encoding: str, **fields: Any) -> SimpleNamespace:
    """A message with the pixels of an array, in its byte order."""
    data = array.array('B', pixels.tobytes())
    order = {'=': sys.byteorder == 'big', '|': False, '>': True, '<': False}
    message = {'height': pixels.shape[0], 'width': pixels.shape[1], 'encoding': encoding}
    message |= {'step': pixels.strides[0], 'is_bigendian': order[pixels.dtype.byteorder]}
    return SimpleNamespace(**(message | {'data': data} | fields))


def cloud(
    depth: NDArray[np.float32], point: np.dtype[np.void] = POINT, **arguments: Any
) -> NDArray[np.void]:
    given = {
        'intrinsics': CAMERA,
        'mask': np.arange(depth.size, dtype=np.uint8).reshape(depth.shape),
        'confidence': np.full(depth.shape, 255, np.uint8),
        'rgb': np.zeros(depth.shape, np.float32),
    }
    points = np.zeros(depth.shape, point)
    fill_points(points, depth, **(given | arguments))
    return points


def test_each_pixel_is_projected_along_its_ray() -> None:
    points = cloud(np.full((3, 4), 2.0, np.float32))
    assert points.shape == (3, 4)
    assert points[0, 0].tolist()[:3] == (-1.0, -0.25, 2.0)
    assert points[2, 3].tolist()[:3] == (2.0, 0.75, 2.0)
    assert points['label'].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_point_without_depth_keeps_its_label() -> None:
    depth = np.full((3, 4), 2.0, np.float32)
    depth[1, 2] = np.nan
    points = cloud(depth)
    assert np.isnan([points[1, 2][axis] for axis in 'xyz']).all()
    assert points[1, 2]['label'] == 6
    assert np.isnan(points['z']).sum() == 1


def test_confidence_becomes_a_fraction() -> None:
    confidence = np.full((3, 4), 51, np.uint8)
    confidence[0, 0] = 255
    points = cloud(np.ones((3, 4), np.float32), confidence=confidence)
    assert points[0, 0]['confidence'] == 1.0
    assert points[0, 1]['confidence'] == pytest.approx(0.2)


def test_channels_follow_the_fields_that_all_points_have() -> None:
    assert tuple(POINT.names or ()) == FIELDS
    assert point_type() is POINT
    found = point_type(['road', 'traffic light'])
    assert found.itemsize == POINT.itemsize + 8
    assert {name: found.fields[name] for name in FIELDS} == dict(POINT.fields or {})
    assert (found.fields['road'], found.fields['traffic light']) == (
        (np.dtype('f4'), 28),
        (np.dtype('f4'), 32),
    )


def test_a_channel_is_the_confidence_of_its_class() -> None:
    confidence = np.array([[255, 51, 0]], np.uint8)
    ids = np.array([[1, 2, 1]], np.uint8)
    depth = np.array([[1.0, 1.0, np.nan]], np.float32)
    points = cloud(depth, point_type(['one', 'both']), mask=ids, confidence=confidence)
    is_one, is_either = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
    is_one[1] = is_either[[1, 2]] = True
    fill_channels(points, {'one': is_one, 'both': is_either})
    assert points['one'].tolist() == [[1.0, 0.0, 0.0]]
    assert points['both'].tolist() == [[1.0, pytest.approx(0.2), 0.0]]


def test_stride_is_the_distance_of_the_rays() -> None:
    points = cloud(np.full((2, 2), 2.0, np.float32), stride=2)
    assert points[0, 0].tolist()[:3] == (-1.0, -0.25, 2.0)
    assert points[1, 1].tolist()[:3] == (1.0, 0.75, 2.0)


def test_colour_lies_in_the_bits_of_a_float() -> None:
    packed = pack_rgb(np.array([[255, 128, 1]], np.uint8))
    assert packed.view(np.uint32).tolist() == [0xFF8001]


def test_classes_are_believed_if_wanted_and_sure() -> None:
    mask = np.array([[0, 1, 255], [0, 1, 255]], np.uint8)
    confidence = np.array([[127, 255, 255], [128, 0, 255]], np.uint8)
    is_wanted = np.ones(256, np.bool_)
    is_wanted[255] = False
    found = believe(mask, confidence, is_wanted, 0.5)
    assert found.tolist() == [[False, True, False], [True, False, False]]
    assert believe(mask, None, is_wanted, 1.0).tolist() == [[True, True, False]] * 2


@pytest.mark.parametrize('value', [0, 1, 51, 128, 254, 255])
def test_confidence_of_the_limit_is_enough(value: int) -> None:
    confidence = np.array([[value, max(value - 1, 0)]], np.uint8)
    mask, all_ids = np.zeros((1, 2), np.uint8), np.ones(256, np.bool_)
    found = believe(mask, confidence, all_ids, value / 255)
    assert found.tolist() == [[True, value == 0]]


def test_selected_points_are_one_row() -> None:
    points = cloud(np.ones((3, 4), np.float32))
    is_selected = np.zeros((3, 4), np.bool_)
    is_selected[0, 3] = is_selected[2, 1] = True
    assert select_points(points, is_selected)['label'].tolist() == [3, 9]


def test_millimetres_become_metres_and_zero_nothing() -> None:
    depth = image_to_depth(image(np.array([[0, 1, 1500, 65535]], np.uint16), '16UC1'))
    assert np.isnan(depth[0, 0])
    np.testing.assert_allclose(depth[0, 1:], [0.001, 1.5, 65.535], rtol=1e-6)


def test_metres_lose_what_is_no_distance() -> None:
    values = [[1.25, np.nan, np.inf, -np.inf, 0.0, -1.0]]
    depth = image_to_depth(image(np.array(values, np.float32), '32FC1'))
    assert depth[0, 0] == 1.25
    assert np.isnan(depth[0, 1:]).all()


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
@pytest.mark.parametrize('order', ['<', '>'])
def test_either_byte_order_is_read(encoding: str, order: str) -> None:
    kind = {'16UC1': 'u2', '32FC1': 'f4'}[encoding]
    value = 2000 if encoding == '16UC1' else 2.0
    pixels = np.full((2, 2), value, np.dtype(order + kind))
    message = image(pixels, encoding, is_bigendian=order == '>')
    np.testing.assert_allclose(image_to_depth(message), 2.0)


def test_padded_rows_are_read() -> None:
    padded = np.full((2, 5), 9999, np.uint16)
    padded[:, :3] = [[1000, 2000, 3000], [4000, 5000, 6000]]
    depth = image_to_depth(image(padded, '16UC1', width=3))
    np.testing.assert_allclose(depth, [[1, 2, 3], [4, 5, 6]], rtol=1e-6)


def test_range_limits_the_depth() -> None:
    message = image(np.array([[100, 500, 2000, 3000]], np.uint16), '16UC1')
    depth = image_to_depth(message, min_range=0.5, max_range=2.0)
    assert np.isnan(depth).tolist() == [[True, False, False, True]]


def test_what_is_read_can_be_written_to() -> None:
    message = image(np.ones((2, 2), np.float32), '32FC1')
    image_to_depth(message)[0, 0] = 5.0
    assert message.data.tobytes() == np.ones((2, 2), np.float32).tobytes()


@pytest.mark.parametrize(
    ('fields', 'told'),
    [
        ({'encoding': 'rgb8'}, "`encoding` of depth must be one of 16UC1, .*got 'rgb8'"),
        ({'step': 7}, '`step` of depth must be at least 8 bytes .4 pixels 16UC1., got 7'),
        ({'height': 4}, '`data` of depth must be at least 32 bytes .*got 24'),
        ({'width': 0}, '`width` x `height` must be at least 1 x 1, got 0 x 3'),
    ],
)
def test_depth_that_is_no_image_is_refused(fields: dict[str, Any], told: str) -> None:
    message = image(np.ones((3, 4), np.uint16), **({'encoding': '16UC1'} | fields))
    with pytest.raises(ValueError, match=told):
        image_to_depth(message)


def test_mask_must_have_one_byte_per_pixel() -> None:
    with pytest.raises(ValueError, match="`encoding` of mask must be mono8 or 8UC1, got 'mono16'"):
        image_to_ids(image(np.ones((3, 4), np.uint16), 'mono16'), 'mask')


def test_mask_of_another_size_is_taken_pixel_by_pixel() -> None:
    mask = np.arange(18, dtype=np.uint8).reshape(3, 6)
    assert on_depth_grid('mask', mask, (2, 1)).tolist() == [[7, 10]]
    larger = on_depth_grid('mask', mask, (12, 6))
    assert larger.tolist() == np.repeat(np.repeat(mask, 2, 0), 2, 1).tolist()


def test_mask_of_another_view_is_refused() -> None:
    told = '`mask` must have the aspect ratio of the depth image, 640 x 480, got 1280 x 720'
    with pytest.raises(ValueError, match=told):
        on_depth_grid('mask', np.zeros((720, 1280), np.uint8), (640, 480))


def test_message_is_filled_in_place() -> None:
    pytest.importorskip('sensor_msgs')
    from sensor_msgs.msg import PointField
    from std_msgs.msg import Header

    from dcfm_ros.cloud.messages import organised_cloud

    header = Header(frame_id='optical')
    message, points = organised_cloud(3, 4, header)
    assert points.shape == (3, 4)
    points[...] = cloud(np.full((3, 4), 2.0, np.float32))
    assert message.header == header
    assert (message.height, message.width, message.is_dense) == (3, 4, False)
    assert (message.point_step, message.row_step) == (28, 112)
    assert message.data.tobytes() == points.tobytes()
    gap = np.frombuffer(message.data, np.uint8).reshape(-1, 28)[:, 12:16]
    assert not gap.any()
    described = [(field.name, field.offset, field.datatype) for field in message.fields]
    FLOAT32, UINT32 = PointField.FLOAT32, PointField.UINT32
    assert described == [
        ('x', 0, FLOAT32),
        ('y', 4, FLOAT32),
        ('z', 8, FLOAT32),
        ('rgb', 16, FLOAT32),
        ('label', 20, UINT32),
        ('confidence', 24, FLOAT32),
    ]


def test_message_has_a_field_for_each_channel() -> None:
    pytest.importorskip('sensor_msgs')
    from sensor_msgs.msg import PointField
    from std_msgs.msg import Header

    from dcfm_ros.cloud.messages import dense_cloud, organised_cloud

    point = point_type(['road'])
    message, points = organised_cloud(3, 4, Header(), point)
    points[...] = cloud(np.full((3, 4), 2.0, np.float32), point)
    points['road'] = 0.5
    kept = dense_cloud(select_points(points, np.eye(3, 4, dtype=np.bool_)), Header())
    for made, width in ((message, 4), (kept, 3)):
        field = made.fields[-1]
        described = (field.name, field.offset, field.datatype, field.count)
        assert described == ('road', 28, PointField.FLOAT32, 1)
        assert (len(made.fields), made.point_step, made.row_step) == (7, 32, 32 * width)
        assert (np.frombuffer(made.data, point)['road'] == 0.5).all()


@pytest.mark.parametrize('count', [12, 0])
def test_dense_cloud_is_one_row(count: int) -> None:
    pytest.importorskip('sensor_msgs')
    from std_msgs.msg import Header

    from dcfm_ros.cloud.messages import dense_cloud

    points = cloud(np.full((3, 4), 2.0, np.float32)).ravel()[:count]
    message = dense_cloud(points, Header())
    assert (message.height, message.width, message.is_dense) == (1, count, True)
    assert message.data.tobytes() == points.tobytes()


def test_sensor_msgs_py_reads_the_points() -> None:
    point_cloud2 = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='not installed')
    from std_msgs.msg import Header

    from dcfm_ros.cloud.messages import dense_cloud

    points = cloud(np.full((3, 4), 2.0, np.float32)).ravel()
    read = point_cloud2.read_points(dense_cloud(points, Header()))
    assert read['label'].tolist() == points['label'].tolist()
