from __future__ import annotations

import pytest

pytest.importorskip('sensor_msgs')

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from dcfm_ros.ros.camera_info_relay import CameraInfoRelay

HEADER = Header(stamp=Time(sec=5, nanosec=7), frame_id='camera_optical_frame')


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def relay(warnings: list[str]) -> CameraInfoRelay:
    return CameraInfoRelay(warnings.append)


def test_mask_before_any_camera_info_has_none(relay: CameraInfoRelay, warnings: list[str]) -> None:
    assert relay.problem == ''
    assert relay.for_mask(HEADER, (480, 640), (480, 640)) is None
    assert relay.problem == 'no `camera_info` received'
    assert warnings == []


def test_each_mask_gets_the_newest_with_its_own_header(relay: CameraInfoRelay) -> None:
    relay.receive(CameraInfo(height=480, width=640, distortion_model='old'))
    relay.receive(CameraInfo(height=480, width=640, distortion_model='new'))
    for _ in range(2):
        info = relay.for_mask(HEADER, (480, 640), (240, 320))
        assert info is not None
        assert (info.height, info.width, info.distortion_model) == (240, 320, 'new')
        assert info.header == HEADER


def test_another_size_is_warned_of_once(relay: CameraInfoRelay, warnings: list[str]) -> None:
    relay.receive(CameraInfo(height=480, width=640))
    for _ in range(3):
        assert relay.for_mask(HEADER, (240, 320), (240, 320)) is None
    (warning,) = warnings
    assert warning.startswith('mask/camera_info is not published: `camera_info` must be of 320')
    assert 'got 640 x 480' in relay.problem


def test_sizes_that_change_with_every_image_are_no_flood(
    relay: CameraInfoRelay, warnings: list[str]
) -> None:
    relay.receive(CameraInfo(height=480, width=640))
    for rows in range(1, 200):
        assert relay.for_mask(HEADER, (rows, 320), (rows, 320)) is None
        assert f'of 320 x {rows} images' in relay.problem
    assert len(warnings) < 20  # a second later another reason is a new one


def test_the_right_size_ends_the_problem(relay: CameraInfoRelay) -> None:
    relay.receive(CameraInfo(height=480, width=640))
    relay.for_mask(HEADER, (240, 320), (240, 320))
    relay.receive(CameraInfo(height=240, width=320))
    assert relay.for_mask(HEADER, (240, 320), (240, 320)) is not None
    assert relay.problem == ''
