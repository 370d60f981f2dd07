from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('sensor_msgs')

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from dcfm_ros.images.calibration import Intrinsics, Window, camera_info_of_mask, intrinsics_of

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
    assert (Window.of(found).height, Window.of(found).width) == (50, 100)


def test_uncalibrated_camera_stays_uncalibrated() -> None:
    info = CameraInfo(height=480, width=640)
    found = camera_info_of_mask(info, HEADER, (480, 640), (240, 320))
    assert not np.any(found.k)
    assert not np.any(found.p)


@pytest.mark.parametrize('image_size', [(480, 641), (240, 320), (640, 480)])
def test_camera_info_of_another_size_is_refused(image_size: tuple[int, int]) -> None:
    height, width = image_size
    expected = f'`camera_info` must be of {width} x {height} images, as they arrive, got 640 x 480'
    with pytest.raises(ValueError, match=expected):
        camera_info_of_mask(camera_info(), HEADER, image_size, image_size)


def calibration(width: int, height: int, **fields: Any) -> SimpleNamespace:
    """A camera with fx 300, fy 310, cx 160, cy 121 in P, and other numbers in K."""
    none = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    info = {'width': width, 'height': height, 'binning_x': 0, 'binning_y': 0, 'roi': none}
    info |= {'k': [290.0, 0, 150, 0, 291, 120, 0, 0, 1]}
    info |= {'p': [300.0, 0, 160, -5, 0, 310, 121, 0, 0, 0, 1, 0]}
    return SimpleNamespace(**(info | fields))


def test_projection_matrix_counts() -> None:
    camera = intrinsics_of(calibration(320, 240), 320, 240)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (300, 310, 160, 121)


def test_camera_matrix_counts_where_the_projection_is_empty() -> None:
    camera = intrinsics_of(calibration(320, 240, p=[0.0] * 12), 320, 240)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (290, 291, 150, 120)


def test_calibration_of_another_size_is_scaled() -> None:
    camera = intrinsics_of(calibration(320, 240), 640, 480)
    assert camera == Intrinsics(640, 480, fx=600, fy=620, cx=320, cy=242)


def test_window_and_binning_are_applied() -> None:
    roi = SimpleNamespace(x_offset=20, y_offset=10, width=200, height=100)
    camera = intrinsics_of(calibration(320, 240, roi=roi, binning_x=2, binning_y=2), 100, 50)
    assert camera == Intrinsics(100, 50, fx=150, fy=155, cx=70, cy=55.5)


def test_calibration_of_another_view_is_refused() -> None:
    told = '`camera_info` must have the aspect ratio .*640 x 360, got 320 x 240'
    with pytest.raises(ValueError, match=told):
        intrinsics_of(calibration(320, 240), 640, 360)


@pytest.mark.parametrize('focal', [0.0, -300.0, np.nan])
def test_camera_without_calibration_is_refused(focal: float) -> None:
    info = calibration(320, 240, p=[0.0] * 12, k=[focal, 0, 160, 0, focal, 120, 0, 0, 1])
    with pytest.raises(ValueError, match='must have focal lengths above 0 in P or K, got fx'):
        intrinsics_of(info, 320, 240)


def test_calibration_without_size_is_refused() -> None:
    with pytest.raises(ValueError, match='`camera_info` must have a size, got 0 x 0'):
        intrinsics_of(calibration(0, 0), 320, 240)
