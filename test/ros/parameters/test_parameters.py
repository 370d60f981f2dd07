from __future__ import annotations

from pathlib import Path
import re

import pytest
from repository import ROOT
import yaml

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.option_spec import specs_of, types_of
from dcfm_ros.ros.parameters import documents
from dcfm_ros.ros.parameters.cloud import CloudParameters
from dcfm_ros.ros.parameters.ground import GroundParameters
from dcfm_ros.ros.parameters.rules import refusal, settle, unknown
from dcfm_ros.ros.parameters.segmentation import REMOVED, NodeParameters
from dcfm_ros.ros.parameters.spec import LIVE, UNCONFIGURED, when_changeable

NOW = NodeParameters()
TABLES = {
    'segmentation': NodeParameters,
    'semantic_cloud': CloudParameters,
    'ground_grid': GroundParameters,
}
CAMERAS = 'a list of different names (a letter, then letters, digits and _)'


@pytest.mark.parametrize('path', documents.files(ROOT), ids=lambda path: path.name)
def test_file_holds_the_declared_parameters(path: Path) -> None:
    how = 'run python -m dcfm_ros.ros.parameters.documents'
    assert path.read_text(encoding='utf-8') == documents.files(ROOT)[path], how


def test_table_without_marks_is_not_taken_for_written(tmp_path: Path) -> None:
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'node.md').write_text('# segmentation_node')
    with pytest.raises(ValueError, match=r'docs/node\.md must have a line'):
        documents.files(tmp_path)


@pytest.mark.parametrize('name', TABLES)
def test_yaml_has_every_parameter_with_its_default(name: str) -> None:
    text = (ROOT / 'config' / f'{name}.yaml').read_text(encoding='utf-8')
    ((nodes, content),) = yaml.safe_load(text).items()
    assert nodes == '/**', 'must hold in any namespace'
    given, table = content['ros__parameters'], TABLES[name]
    kinds = {n: list if kind is tuple else kind for n, kind in types_of(table).items()}
    assert {n: type(value) for n, value in given.items()} == kinds
    assert settle(given, table) == table()


def test_options_of_the_engine_are_parameters_of_the_node() -> None:
    specs = specs_of(NodeParameters)
    for options, changeable in ((EngineOptions(), UNCONFIGURED), (ScheduleOptions(), LIVE)):
        for name, spec in specs_of(options).items():
            assert getattr(NOW, name) == getattr(options, name)
            assert specs[name].description == spec.description
            assert when_changeable(name, NodeParameters) == changeable
    assert (NOW.engine_options, NOW.schedule_options) == (EngineOptions(), ScheduleOptions())


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('checkpoint', '/weights/x.safetensors'),
        ('device', 'cuda'),
        ('device', 'cuda:1'),
        ('backend', 'openvino'),
        ('keyframe_interval', 1),
        ('keyframe_interval', 1000),
        ('execution', 'amortised'),
        ('execution_slices', 0),
        ('max_feature_age_s', 3600.0),
        ('inference_height', 0),
        ('overlay_alpha', 0.0),
        ('overlay_alpha', 1.0),
        ('autostart', False),
        ('cameras', ['']),
        ('cameras', ['front', 'Rear_2']),
        ('cameras', ()),
    ],
)
def test_value_is_allowed(name: str, value: object) -> None:
    assert refusal({name: value}, NOW, 'unconfigured') == ''


@pytest.mark.parametrize(
    ('name', 'value', 'allowed'),
    [
        ('device', 'tpu', 'one of auto, cpu, cuda, cuda:N'),
        ('device', 'cuda:', 'one of auto, cpu, cuda, cuda:N'),
        ('device', '', 'one of auto, cpu, cuda, cuda:N'),
        ('device', 0, 'one of auto, cpu, cuda, cuda:N'),
        ('backend', 'tensorrt', 'one of auto, torch, openvino'),
        ('keyframe_interval', 0, 'a whole number from 1 to 1000'),
        ('keyframe_interval', 1001, 'a whole number from 1 to 1000'),
        ('keyframe_interval', 2.0, 'a whole number from 1 to 1000'),
        ('keyframe_interval', True, 'a whole number from 1 to 1000'),
        ('execution', 'parallel', 'one of sync, amortised'),
        ('execution_slices', -1, 'a whole number from 0 to 1000'),
        ('max_feature_age_s', 3601.0, 'a number from 0.0 to 3600.0'),
        ('overlay_alpha', 1.1, 'a number from 0.0 to 1.0'),
        ('overlay_alpha', float('nan'), 'a number from 0.0 to 1.0'),
        ('autostart', 'yes', 'true or false'),
        ('checkpoint', 3, 'a text'),
        ('cameras', 'front', CAMERAS),
        ('cameras', ['front', 'front'], CAMERAS),
        ('cameras', ['front', ''], CAMERAS),
        ('cameras', ['2nd'], CAMERAS),
        ('cameras', ['front/left'], CAMERAS),
        ('cameras', ['front\n'], CAMERAS),
        ('cameras', [1, 2], CAMERAS),
    ],
)
def test_problem_names_value_and_allowed_values(name: str, value: object, allowed: str) -> None:
    got = tuple(value) if isinstance(value, list) else value
    assert (
        refusal({name: value}, NOW, 'unconfigured') == f'`{name}` must be {allowed}, got {got!r}'
    )


def test_what_configuring_reads_can_be_changed_while_unconfigured() -> None:
    assert refusal({'device': 'cpu'}, NOW, 'unconfigured') == ''


@pytest.mark.parametrize('state', ['inactive', 'active', 'finalized'])
def test_what_configuring_reads_cannot_be_changed_later(state: str) -> None:
    reason = refusal({'device': 'cpu'}, NOW, state)
    assert f'while unconfigured only, and the node is {state}' in reason


def test_live_parameter_can_be_changed_while_active() -> None:
    assert refusal({'overlay_alpha': 0.3, 'schedule': 'adaptive'}, NOW, 'active') == ''


def test_refusal_names_every_reason() -> None:
    reason = refusal({'device': 'cpu', 'overlay_alpha': -1.0}, NOW, 'active')
    assert reason.startswith(
        '`overlay_alpha` must be a number from 0.0 to 1.0, got -1.0; `device`'
    )
    assert 'the node is active' in reason


def test_parameters_of_others_are_none_of_our_business() -> None:
    assert refusal({'use_sim_time': True}, NOW, 'active') == ''


def test_limits_must_be_in_order() -> None:
    changes = {'min_keyframe_interval': 5, 'max_keyframe_interval': 4}
    told = '`max_keyframe_interval` must be 0 or at least `min_keyframe_interval` (5), got 4'
    assert refusal(changes, NOW, 'active') == told


def test_change_is_held_against_the_values_of_now() -> None:
    now = settle({'min_keyframe_interval': 5, 'max_keyframe_interval': 8}, NodeParameters)
    assert '(5), got 4' in refusal({'max_keyframe_interval': 4}, now, 'active')
    assert '(9), got 8' in refusal({'min_keyframe_interval': 9}, now, 'active')


def test_limits_can_be_changed_together() -> None:
    now = settle({'min_keyframe_interval': 5, 'max_keyframe_interval': 8}, NodeParameters)
    both = {'min_keyframe_interval': 10, 'max_keyframe_interval': 20}
    assert refusal(both, now, 'active') == ''


def test_limits_may_be_equal_and_the_upper_one_off() -> None:
    equal = {'min_keyframe_interval': 5, 'max_keyframe_interval': 5}
    assert refusal(equal, NOW, 'active') == ''
    assert refusal({'min_keyframe_interval': 5}, NOW, 'active') == ''


def test_values_of_the_start_are_checked_together_too() -> None:
    with pytest.raises(ValueError, match=r'`max_keyframe_interval` must be .* \(5\), got 4'):
        settle({'min_keyframe_interval': 5, 'max_keyframe_interval': 4}, NodeParameters)


def test_every_wrong_value_of_the_start_is_told() -> None:
    with pytest.raises(ValueError, match=r'`device` must be .*tpu') as error:
        settle({'device': 'tpu', 'overlay_alpha': 2}, NodeParameters)
    assert '`overlay_alpha` must be a number from 0.0 to 1.0, got 2.0' in str(error.value)


def test_whole_number_is_taken_for_a_number() -> None:
    values = settle({'overlay_alpha': 1}, NodeParameters)
    assert values.overlay_alpha == 1.0
    assert isinstance(values.overlay_alpha, float)


def test_cameras_of_ros_are_a_tuple_and_one_empty_name_is_none() -> None:
    assert settle({'cameras': ['front', 'rear']}, NodeParameters).cameras == ('front', 'rear')
    assert settle({'cameras': ['']}, NodeParameters).cameras == ()


def test_unknown_name_is_reported_with_a_close_one() -> None:
    (warning,) = unknown(['keyframe_intervall', 'use_sim_time', 'device'], NodeParameters)
    assert warning.endswith('is ignored; did you mean `keyframe_interval`?')


@pytest.mark.parametrize('name', REMOVED)
def test_removed_name_is_reported_with_its_replacement(name: str) -> None:
    (warning,) = unknown([name], NodeParameters)
    assert warning == f'`{name}` was removed and is ignored: {REMOVED[name]}'
    named = set(re.findall('`(.*?)`', REMOVED[name]))
    assert named <= set(types_of(NodeParameters))
    assert named or REMOVED[name] == 'there is no replacement'
