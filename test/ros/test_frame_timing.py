from __future__ import annotations

import math

import pytest
from small_net import make_images, make_net

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.ros.frame_timing import ENGINE_STAGES, FrameTiming

TIMING = FrameTiming(
    is_keyframe=True,
    reason='interval',
    feature_age_ms=0.0,
    change_score=0.0125,
    stage_ms={'decode_image': 4.0, 'independent': 9.5, 'common': 30.0, 'publish': 0.25},
    wait_ms=1.5,
    latency_ms=46.0,
    frames_dropped=3,
)


def test_values_are_read_back_as_they_were_written() -> None:
    assert FrameTiming.from_values(TIMING.to_values()) == TIMING


def test_keys_and_texts_are_those_of_the_manual() -> None:
    assert TIMING.to_values() == {
        'is_keyframe': 'true',
        'reason': 'interval',
        'keyframe_age': '0',
        'feature_age_ms': '0.000',
        'change_score': '0.0125',
        'decode_image_ms': '4.000',
        'independent_ms': '9.500',
        'common_ms': '30.000',
        'publish_ms': '0.250',
        'wait_ms': '1.500',
        'latency_ms': '46.000',
        'frames_dropped': '3',
    }


def test_what_is_absent_has_its_default() -> None:
    timing = FrameTiming.from_values({'latency_ms': '5.0', 'decode_ms': '2.0'})
    assert (timing.is_keyframe, timing.reason, timing.keyframe_age) == (False, '', 0)
    assert math.isnan(timing.change_score)
    assert (timing.input_ms, timing.wait_ms, timing.share_ms) == (0.0, 0.0, 3.0)


@pytest.mark.parametrize('stage', ['convert', 'decode_image'])
def test_raw_and_compressed_images_have_an_input_time(stage: str) -> None:
    timing = FrameTiming.from_values({f'{stage}_ms': '4.0', 'latency_ms': '10.0'})
    assert (timing.input_ms, timing.share_ms) == (4.0, 10.0)


def test_a_number_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match='soon'):
        FrameTiming.from_values({'latency_ms': 'soon'})


def test_status_says_what_the_frame_was() -> None:
    assert TIMING.status('front frame').message == 'keyframe (interval)'
    assert FrameTiming().status().message == 'non-key frame'


def test_every_stage_of_the_engine_is_known() -> None:
    options = EngineOptions(device='cpu', backend='torch', motion='flow')
    engine = SegmentationEngine(make_net(), options)
    results = [engine.step(image, index) for index, image in enumerate(make_images(3), 1)]
    assert {name for result in results for name in result.stage_ms} == set(ENGINE_STAGES)
