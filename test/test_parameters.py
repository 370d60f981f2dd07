from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy')

from dcfm_ros.parameters import (
    SPECS,
    TYPES,
    NodeParameters,
    allowed_values,
    problem,
    refusal,
    type_name,
)

ROOT = Path(__file__).resolve().parents[1]
YAML = (ROOT / 'config' / 'segmentation.yaml').read_text(encoding='utf-8')


def expected_table() -> list[str]:
    """The rows that docs/node.md must have."""
    defaults = NodeParameters()
    rows = []
    for name, spec in SPECS.items():
        default = getattr(defaults, name)
        text = str(default).lower() if isinstance(default, bool) else default
        unit = f' ({spec.unit})' if spec.unit else ''
        kind = type_name(name)
        cells = [f'`{name}`', kind, f'`{text}`' if text != '' else '(empty)']
        cells += [f'{allowed_values(name)}{unit}', spec.changeable, spec.description]
        rows.append(f'| {" | ".join(cells)} |')
    return rows


def yaml_comment(name: str) -> str:
    """The comment above a parameter in the file, in one line."""
    lines = YAML.splitlines()
    index = next(i for i, line in enumerate(lines) if line.strip().startswith(f'{name}:'))
    words = []
    while (line := lines[index - 1].strip()).startswith('#'):
        words.insert(0, line.removeprefix('#').strip())
        index -= 1
    return ' '.join(words)


def test_documented_table_is_the_declared_one() -> None:
    text = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')
    rows = [line for line in text.splitlines() if line.startswith('| `')]
    expected = expected_table()
    assert [row for row in rows if row.split('`')[1] in SPECS] == expected, '\n'.join(expected)


def test_yaml_has_every_parameter_with_its_default() -> None:
    (nodes,) = yaml.safe_load(YAML).items()
    assert nodes[0] == '/**', 'must hold in any namespace'
    defaults = NodeParameters()
    expected = {name: getattr(defaults, name) for name in SPECS}
    given = nodes[1]['ros__parameters']
    assert given == expected
    assert {name: type(value) for name, value in given.items()} == TYPES


@pytest.mark.parametrize('name', SPECS)
def test_yaml_comments_every_parameter(name: str) -> None:
    spec = SPECS[name]
    unit = f' ({spec.unit})' if spec.unit else ''
    expected = f'{spec.description} {allowed_values(name)}{unit}; can be changed {spec.changeable}'
    assert yaml_comment(name) == expected


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
    ],
)
def test_problem_names_value_and_allowed_values(name: str, value: object, allowed: str) -> None:
    assert problem(name, value) == f'`{name}` must be {allowed}, got {value!r}'


def test_executions_are_those_of_the_engine() -> None:
    from dcfm_ros.deep_execution import EXECUTIONS

    assert SPECS['execution'].choices == EXECUTIONS


def test_what_configuring_reads_can_be_changed_while_unconfigured() -> None:
    assert refusal('keyframe_interval', 8, 'unconfigured') == ''


@pytest.mark.parametrize('state', ['inactive', 'active', 'finalized'])
def test_what_configuring_reads_cannot_be_changed_later(state: str) -> None:
    reason = refusal('keyframe_interval', 8, state)
    assert f'while unconfigured only, and the node is {state}' in reason


def test_live_parameter_can_be_changed_while_active() -> None:
    assert refusal('overlay_alpha', 0.3, 'active') == ''


def test_refusal_names_the_range_first() -> None:
    assert 'from 1 to 1000' in refusal('keyframe_interval', 0, 'active')


def test_parameters_of_others_are_none_of_our_business() -> None:
    assert refusal('use_sim_time', True, 'active') == ''
