from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('sensor_msgs')

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from dcfm_ros.masks.resize import camera_info_of_mask, described_size, resize_nearest

HEADER = Header(stamp=Time(sec=5, nanosec=7), frame_id='camera_optical_frame')


def camera_info(**fields: object) -> CameraInfo:
    """Of a 640 x 480 camera with a stereo baseline, stamped otherwise than the image."""
    info = CameraInfo(height=480, width=640, distortion_model='plumb_bob')
    info.header = Header(stamp=Time(sec=1), frame_id='old')
    info.d = [0.1, -0.2, 0.001, 0.002, 0.05]
    info.k = [500.0, 0.0, 321.0, 0.0, 510.0, 239.0, 0.0, 0.0, 1.0]
    info.r = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [490.0, 0.0, 322.0, -60.0, 0.0, 495.0, 238.0, 7.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def test_camera_info_of_a_full_size_mask_only_gets_its_header() -> None:
    roi = RegionOfInterest(x_offset=20, y_offset=40, width=400, height=300, do_rectify=True)
    info = camera_info(roi=roi, binning_x=2, binning_y=3)
    found = camera_info_of_mask(info, HEADER, (100, 200), (100, 200))
    info.header = HEADER
    assert found == info


def test_camera_info_is_scaled_to_the_mask() -> None:
    found = camera_info_of_mask(camera_info(), HEADER, (480, 640), (120, 320))
    assert (found.height, found.width) == (120, 320)
    np.testing.assert_allclose(found.k, [250, 0, 160.5, 0, 127.5, 59.75, 0, 0, 1])
    expected = [245, 0, 161, -30, 0, 123.75, 59.5, 1.75, 0, 0, 1, 0]
    np.testing.assert_allclose(found.p, expected)


def test_lens_and_rectification_stay() -> None:
    found = camera_info_of_mask(camera_info(), HEADER, (480, 640), (120, 320))
    assert found.distortion_model == 'plumb_bob'
    assert list(found.d) == [0.1, -0.2, 0.001, 0.002, 0.05]
    assert list(found.r) == list(camera_info().r)


def test_header_is_that_of_the_image() -> None:
    info = camera_info()
    assert camera_info_of_mask(info, HEADER, (480, 640), (120, 320)).header == HEADER
    assert info == camera_info()


def test_window_and_binning_become_part_of_the_matrices() -> None:
    roi = RegionOfInterest(x_offset=20, y_offset=41, width=401, height=300, do_rectify=True)
    info = camera_info(roi=roi, binning_x=2, binning_y=3)
    found = camera_info_of_mask(info, HEADER, (100, 200), (50, 100))
    np.testing.assert_allclose(found.k, [125, 0, 75.25, 0, 85, 33, 0, 0, 1])
    expected = [122.5, 0, 75.5, -15, 0, 82.5, 197 / 6, 7 / 6, 0, 0, 1, 0]
    np.testing.assert_allclose(found.p, expected)
    assert found.roi == RegionOfInterest()
    assert (found.binning_x, found.binning_y) == (0, 0)
    assert described_size(found) == (50, 100)


def test_uncalibrated_camera_stays_uncalibrated() -> None:
    info = CameraInfo(height=480, width=640)
    found = camera_info_of_mask(info, HEADER, (480, 640), (240, 320))
    assert not np.any(found.k)
    assert not np.any(found.p)


@pytest.mark.parametrize('image_size', [(480, 641), (240, 320), (640, 480)])
def test_camera_info_of_another_size_is_refused(image_size: tuple[int, int]) -> None:
    height, width = image_size
    expected = f'`camera_info` must be of {width} x {height} images, as they come, got 640 x 480'
    with pytest.raises(ValueError, match=expected):
        camera_info_of_mask(camera_info(), HEADER, image_size, image_size)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_pixel_under_the_centre_is_taken(dtype: type) -> None:
    pixels = np.arange(15, dtype=dtype).reshape(3, 5)
    found = resize_nearest(pixels, (1, 3))
    # Centres of the three columns lie at 0.83, 2.5 and 4.17 pixels, of the row at 1.5.
    assert found.tolist() == [[5, 7, 9]]
    assert found.dtype == dtype


@pytest.mark.parametrize('size', [(33, 77), (300, 250), (1, 1), (99, 131)])
def test_resizing_agrees_with_centres_and_invents_no_class(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).choice(np.array([0, 3, 255], np.uint8), (99, 131))
    rows = ((np.arange(size[0]) + 0.5) * 99 / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * 131 / size[1]).astype(int)
    np.testing.assert_array_equal(resize_nearest(mask, size), mask[np.ix_(rows, columns)])


def test_mask_of_the_right_size_is_not_copied() -> None:
    mask = np.zeros((4, 6), np.uint8)
    assert resize_nearest(mask, (4, 6)) is mask
