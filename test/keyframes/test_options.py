from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
import math

import numpy as np
import pytest

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.option_spec import allowed_values, specs_of

TABLES = [EngineOptions, ScheduleOptions]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'schedule': 'random'}, "`schedule` must be one of fixed, adaptive, got 'random'"),
        ({'schedule': ''}, "`schedule` must be one of fixed, adaptive, got ''"),
        ({'schedule': 3}, '`schedule` must be one of fixed, adaptive, got 3'),
        ({'keyframe_interval': 0}, '`keyframe_interval` must be a whole number from 1 to 1000,'),
        ({'keyframe_interval': 1001}, 'from 1 to 1000, got 1001'),
        ({'keyframe_interval': 2.5}, 'a whole number from 1 to 1000, got 2.5'),
        ({'keyframe_interval': True}, 'a whole number from 1 to 1000, got True'),
        ({'keyframe_score': 'flow'}, "`keyframe_score` must be one of image, feature, got 'flow'"),
        ({'change_threshold': -0.1}, '`change_threshold` must be a number from 0.0 to 100.0,'),
        ({'change_threshold': math.nan}, 'from 0.0 to 100.0, got nan'),
        ({'change_threshold': '0.1'}, "from 0.0 to 100.0, got '0.1'"),
        ({'change_threshold': None}, 'from 0.0 to 100.0, got None'),
        ({'max_feature_age_s': -1}, '`max_feature_age_s` must be a number from 0.0 to 3600.0,'),
        ({'max_time_gap_s': math.inf}, 'from 0.0 to 3600.0, got inf'),
        (
            {'min_keyframe_interval': 3, 'max_keyframe_interval': 2},
            r'`max_keyframe_interval` must be 0 or at least `min_keyframe_interval` \(3\), got 2',
        ),
    ],
)
def test_bad_schedule_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ScheduleOptions(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'device': 'gpu'}, "`device` must be one of auto, cpu, cuda, cuda:N, got 'gpu'"),
        ({'device': 'cuda:'}, "auto, cpu, cuda, cuda:N, got 'cuda:'"),
        ({'device': ''}, "auto, cpu, cuda, cuda:N, got ''"),
        ({'backend': 'tensorrt'}, "`backend` must be one of auto, torch, openvino, got 'tens"),
        ({'precision': 'int4'}, '`precision` must be one of auto, fp32, bf16, fp16, int8, got'),
        ({'execution': 'async'}, "`execution` must be one of sync, amortised, got 'async'"),
        ({'execution_slices': -1}, '`execution_slices` must be a whole number from 0 to 1000,'),
        ({'motion': 'up'}, "`motion` must be one of auto, none, flow, got 'up'"),
        ({'inference_height': -1}, '`inference_height` must be a whole number from 0 to 4320,'),
    ],
)
def test_bad_engine_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EngineOptions(**options)


def test_every_bad_value_is_named_at_once():
    with pytest.raises(ValueError, match='backend') as caught:
        EngineOptions(backend='jax', motion='up')
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize('value', [1, np.int64(1), np.float32(1), np.float64(1), 1.0])
def test_numbers_of_other_types_become_floats(value):
    assert type(ScheduleOptions(change_threshold=value).change_threshold) is float


def test_whole_numbers_of_numpy_become_ints():
    assert type(ScheduleOptions(keyframe_interval=np.int64(4)).keyframe_interval) is int


@pytest.mark.parametrize('device', ['auto', 'cpu', 'cuda', 'cuda:0', 'cuda:12'])
def test_devices_have_names_or_numbers(device):
    assert EngineOptions(device=device).device == device


@pytest.mark.parametrize('table', TABLES)
def test_options_cannot_be_changed_in_place(table):
    name = fields(table)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(table(), name, 'other')


@pytest.mark.parametrize('table', TABLES)
def test_every_option_says_what_it_means_and_allows(table):
    for name, spec in specs_of(table).items():
        assert spec.description.endswith('.')
        assert 'a text' not in allowed_values(name, table)


@pytest.mark.parametrize(
    ('options', 'schedule', 'slices'),
    [
        ({}, {'keyframe_interval': 6}, 1),
        ({'execution_slices': 3}, {}, 1),
        ({'execution': 'amortised'}, {'keyframe_interval': 6}, 6),
        ({'execution': 'amortised'}, {'schedule': 'adaptive'}, 4),
        ({'execution': 'amortised', 'execution_slices': 3}, {'keyframe_interval': 6}, 3),
    ],
)
def test_number_of_slices(options, schedule, slices):
    assert EngineOptions(**options).num_slices(ScheduleOptions(**schedule)) == slices
