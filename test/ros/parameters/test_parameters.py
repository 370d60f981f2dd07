from __future__ import annotations

from pathlib import Path

import pytest
from repository import ROOT
import yaml

from dcfm_ros.ros.parameters import documents as parameter_table
from dcfm_ros.ros.parameters.rules import problem, refusal, settle, unknown
from dcfm_ros.ros.parameters.segmentation import SPECS, TYPES, NodeParameters

NOW = NodeParameters()
CAMERAS = 'a list of different names (a letter, then letters, digits and _)'


@pytest.mark.parametrize('name', ['docs/node.md', 'README.md', 'config/segmentation.yaml'])
def test_file_holds_the_declared_parameters(name: str) -> None:
    expected = parameter_table.files(ROOT)[ROOT / name]
    told = 'run python -m dcfm_ros.ros.parameters.documents'
    assert (ROOT / name).read_text(encoding='utf-8') == expected, told


def test_table_without_marks_is_not_taken_for_written(tmp_path: Path) -> None:
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'node.md').write_text('# segmentation_node')
    with pytest.raises(ValueError, match=r'docs/node\.md must have a line'):
        parameter_table.files(tmp_path)


def test_yaml_has_every_parameter_with_its_default() -> None:
    text = (ROOT / 'config' / 'segmentation.yaml').read_text(encoding='utf-8')
    ((nodes, content),) = yaml.safe_load(text).items()
    assert nodes == '/**', 'must hold in any namespace'
    given = content['ros__parameters']
    assert list(given) == list(SPECS)
    assert settle(given) == NodeParameters()
    kinds = TYPES | {'cameras': list}
    assert {name: type(value) for name, value in given.items()} == kinds


@pytest.mark.parametrize('name', SPECS)
def test_default_is_allowed(name: str) -> None:
    assert problem(name, getattr(NodeParameters(), name)) == ''


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
        ('max_feature_age', 1000),
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
    assert problem(name, value) == ''


@pytest.mark.parametrize(
    ('name', 'value', 'allowed'),
    [
        ('device', 'tpu', 'one of auto, cpu, cuda, cuda:N'),
        ('device', 'cuda:', 'one of auto, cpu, cuda, cuda:N'),
        ('device', '', 'one of auto, cpu, cuda, cuda:N'),
        ('device', 0, 'one of auto, cpu, cuda, cuda:N'),
        ('backend', 'tensorrt', 'one of auto, torch, openvino, onnxruntime'),
        ('keyframe_interval', 0, 'a whole number from 1 to 1000'),
        ('keyframe_interval', 1001, 'a whole number from 1 to 1000'),
        ('keyframe_interval', 2.0, 'a whole number from 1 to 1000'),
        ('keyframe_interval', True, 'a whole number from 1 to 1000'),
        ('execution', 'parallel', 'one of sync, amortised, async'),
        ('execution_slices', -1, 'a whole number from 0 to 1000'),
        ('max_feature_age', 1001, 'a whole number from 0 to 1000'),
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
    assert problem(name, value) == f'`{name}` must be {allowed}, got {value!r}'


def test_executions_are_those_of_the_engine() -> None:
    from dcfm_ros.keyframes.execution import EXECUTIONS

    assert SPECS['execution'].choices == EXECUTIONS


def test_what_configuring_reads_can_be_changed_while_unconfigured() -> None:
    assert refusal({'device': 'cpu'}, NOW, 'unconfigured') == ''


@pytest.mark.parametrize('state', ['inactive', 'active', 'finalized'])
def test_what_configuring_reads_cannot_be_changed_later(state: str) -> None:
    reason = refusal({'device': 'cpu'}, NOW, state)
    assert f'while unconfigured only, and the node is {state}' in reason


def test_live_parameter_can_be_changed_while_active() -> None:
    assert refusal({'overlay_alpha': 0.3, 'schedule': 'adaptive'}, NOW, 'active') == ''


def test_refusal_names_the_range_first() -> None:
    reason = refusal({'execution_slices': -1}, NOW, 'active')
    assert reason == '`execution_slices` must be a whole number from 0 to 1000, got -1'


def test_refusal_names_every_reason() -> None:
    reason = refusal({'device': 'cpu', 'deadline_ms': -1.0}, NOW, 'active')
    assert 'the node is active' in reason
    assert '; `deadline_ms` must be a number from 0.0 to 60000.0, got -1.0' in reason


def test_parameters_of_others_are_none_of_our_business() -> None:
    assert refusal({'use_sim_time': True}, NOW, 'active') == ''


@pytest.mark.parametrize(
    ('low', 'high', 'values', 'told'),
    [
        ('min_keyframe_interval', 'max_keyframe_interval', (5, 4), '(5), got 4'),
        ('min_keyframe_interval_s', 'max_keyframe_interval_s', (0.5, 0.4), '(0.5), got 0.4'),
    ],
)
def test_limits_must_be_in_order(
    low: str, high: str, values: tuple[float, float], told: str
) -> None:
    changes = dict(zip((low, high), values, strict=True))
    assert refusal(changes, NOW, 'active') == f'`{high}` must be 0 or at least `{low}` {told}'


def test_change_is_held_against_the_values_of_now() -> None:
    now = settle({'min_keyframe_interval': 5, 'max_keyframe_interval': 8})
    assert '(5), got 4' in refusal({'max_keyframe_interval': 4}, now, 'active')
    assert '(9), got 8' in refusal({'min_keyframe_interval': 9}, now, 'active')


def test_limits_can_be_changed_together() -> None:
    now = settle({'min_keyframe_interval': 5, 'max_keyframe_interval': 8})
    both = {'min_keyframe_interval': 10, 'max_keyframe_interval': 20}
    assert refusal(both, now, 'active') == ''


def test_limits_may_be_equal_and_the_upper_one_off() -> None:
    equal = {'min_keyframe_interval': 5, 'max_keyframe_interval': 5}
    assert refusal(equal, NOW, 'active') == ''
    assert refusal({'min_keyframe_interval': 5}, NOW, 'active') == ''


def test_values_of_the_start_are_checked_together_too() -> None:
    with pytest.raises(ValueError, match=r'`max_keyframe_interval` must be .* \(5\), got 4'):
        settle({'min_keyframe_interval': 5, 'max_keyframe_interval': 4})


def test_every_wrong_value_of_the_start_is_told() -> None:
    with pytest.raises(ValueError, match=r'`device` must be .*tpu') as error:
        settle({'device': 'tpu', 'overlay_alpha': 2})
    assert '`overlay_alpha` must be a number from 0.0 to 1.0, got 2.0' in str(error.value)


def test_whole_number_is_taken_for_a_number() -> None:
    values = settle({'overlay_alpha': 1})
    assert values.overlay_alpha == 1.0
    assert isinstance(values.overlay_alpha, float)


def test_cameras_of_ros_are_a_tuple_and_one_empty_name_is_none() -> None:
    assert settle({'cameras': ['front', 'rear']}).cameras == ('front', 'rear')
    assert settle({'cameras': ['']}).cameras == ()


def test_unknown_name_is_told_with_a_close_one() -> None:
    (told,) = unknown(['keyframe_intervall', 'use_sim_time', 'device'])
    assert told.endswith('is ignored; did you mean `keyframe_interval`?')
