"""Arguments of the launch files, read from their text: no ROS machine is needed."""

from __future__ import annotations

import ast

from launch_files import FOLDER, assigned, calls_of, declared, overrides_of, parameters_of
import pytest

FILES = sorted(path.name for path in FOLDER.glob('*.launch.py'))
REQUIRED = {'replay.launch.py': ['bag']}
CONFIG_FILES = {
    'segment.launch.py': 'segmentation.yaml',
    'semantic_cloud.launch.py': 'semantic_cloud.yaml',
    'ground_grid.launch.py': 'ground_grid.yaml',
}


@pytest.mark.parametrize('file_name', FILES)
def test_every_argument_has_a_description_and_nearly_all_a_default(file_name: str) -> None:
    arguments = declared(file_name)
    assert arguments
    assert all('description' in keywords for keywords in arguments.values())
    required = [name for name, words in arguments.items() if 'default_value' not in words]
    assert required == REQUIRED.get(file_name, [])


@pytest.mark.parametrize('file_name', CONFIG_FILES)
def test_every_override_is_a_parameter(file_name: str) -> None:
    assert overrides_of(file_name)
    assert overrides_of(file_name) <= parameters_of(CONFIG_FILES[file_name]).keys()


def test_arguments_of_a_replay_for_the_node_are_those_of_its_own_launch_file() -> None:
    names = set(ast.literal_eval(assigned('replay.launch.py', 'FROM_SEGMENT')))
    assert names <= declared('replay.launch.py').keys()
    assert names <= declared('segment.launch.py').keys()
    assert overrides_of('replay.launch.py') <= overrides_of('segment.launch.py')


def test_example_gives_arguments_that_the_included_files_have() -> None:
    for call in calls_of('nav2_example.launch.py', 'include'):
        file_name, *given = (ast.literal_eval(argument) for argument in call.args)
        assert set(given) <= declared(file_name).keys()
