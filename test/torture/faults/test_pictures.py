"""Pictures and the masks that are right for them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

pytest.importorskip('rclpy')

from std_msgs.msg import Header

from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.torture.faults.pictures import NODE_OPTIONS, Picture, make_pictures


@pytest.fixture(scope='module')
def pictures() -> list[Picture]:
    return make_pictures(3)


def test_masks_depend_on_the_image_only(pictures: list[Picture]) -> None:
    """With the options of the node, whatever images came before."""
    options = EngineOptions(device='cpu', mask_blending=NODE_OPTIONS['mask_blending'])
    schedule = ScheduleOptions(keyframe_interval=NODE_OPTIONS['keyframe_interval'])
    engine = SegmentationEngine(load_network(None, options), options, schedule)
    order = np.random.default_rng(0).integers(0, len(pictures), 40)
    for number, index in enumerate(order):
        mask = engine.step(pictures[index].rgb, number * 40_000_000).mask
        assert zlib.crc32(mask.tobytes()) in pictures[index].masks


def test_pictures_differ_in_their_masks(pictures: list[Picture]) -> None:
    masks = [picture.masks for picture in pictures]
    assert all(not a & b for i, a in enumerate(masks) for b in masks[:i])


def test_pixels_are_what_a_node_makes_of_the_message(pictures: list[Picture]) -> None:
    for picture in pictures:
        np.testing.assert_array_equal(image_to_rgb(picture.message(Header())), picture.rgb)
    assert len({picture.encoding for picture in pictures}) == 4
