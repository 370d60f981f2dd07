from __future__ import annotations

from pathlib import Path

import pytest

from dcfm_ros.ros.parameters.files import misplaced_parameters

NODE = '/segmentation/segmentation_node'


def warnings_for(path: Path, content: str) -> list[str]:
    path.write_text(content, encoding='utf-8')
    arguments = ['node', '--ros-args', '-r', '__ns:=/a', '--params-file', str(path)]
    return misplaced_parameters(arguments, NODE)


def section(name: str) -> str:
    return f'{name}:\n  ros__parameters:\n    keyframe_interval: 7\n'


@pytest.mark.parametrize(
    'name',
    [
        '/**',
        '/segmentation/segmentation_node',
        'segmentation/segmentation_node',
        '/segmentation/*',
        '/*/segmentation_node',
        '/**/segmentation_node',
        'segmentation:\n  segmentation_node',
    ],
)
def test_section_of_the_node_is_fine(tmp_path: Path, name: str) -> None:
    content = section(name)
    if '\n' in name:
        content = 'segmentation:\n  segmentation_node:\n    ros__parameters: {device: cpu}\n'
    assert warnings_for(tmp_path / 'p.yaml', content) == []


@pytest.mark.parametrize('name', ['segmentation_node', '/*', '/segmentation', '/x/**'])
def test_section_that_misses_the_node_is_reported(tmp_path: Path, name: str) -> None:
    (warning,) = warnings_for(tmp_path / 'p.yaml', section(name))
    assert warning == (
        f'parameters of {tmp_path}/p.yaml under /{name.strip("/")} are ignored: '
        f'this node is {NODE}; write {NODE} or /** instead'
    )


def test_file_of_the_whole_robot_is_fine_if_it_means_this_node_too(tmp_path: Path) -> None:
    assert warnings_for(tmp_path / 'p.yaml', section('controller') + section('/**')) == []


def test_namesake_is_reported_beside_a_section_that_applies(tmp_path: Path) -> None:
    content = section('segmentation_node') + section('/**') + section('controller')
    (warning,) = warnings_for(tmp_path / 'p.yaml', content)
    assert 'under /segmentation_node are ignored' in warning


@pytest.mark.parametrize('content', ['', '- 1', 'a: [', 'text'])
def test_what_is_no_parameter_file_is_left_to_ros(tmp_path: Path, content: str) -> None:
    assert warnings_for(tmp_path / 'p.yaml', content) == []
    assert misplaced_parameters(['--params-file', '/nowhere.yaml'], NODE) == []
    assert misplaced_parameters(['--params-file'], NODE) == []


@pytest.mark.parametrize('option', ['-p', '--param'])
@pytest.mark.parametrize('name', ['segmentation_node', 'other'])
def test_value_for_another_node_is_reported(option: str, name: str) -> None:
    arguments = ['node', '--ros-args', option, f'{name}:device:=cuda:0']
    assert misplaced_parameters(arguments, NODE) == [
        f'parameter -p {name}:device:=cuda:0 is ignored: it is for /{name}, and this node is '
        f'{NODE}; write -p device:=cuda:0 instead'
    ]


def test_value_for_this_node_is_fine() -> None:
    arguments = ['node', '--ros-args', '-p', 'device:=cuda:0', '-r', '__ns:=/a']
    assert misplaced_parameters(arguments, NODE) == []
    assert misplaced_parameters(['-p', 'node:device:=cpu'], '/node') == []
