"""segment.launch.py: what its arguments do to the node.

The launch tests run the launch file for real, with an executable in place of segmentation_node
that writes down what ROS handed to it. They need launch_ros, which only a ROS machine has.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
import json
from pathlib import Path
import sys
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / 'launch' / 'segment.launch.py'
CONFIG_FILE = ROOT / 'config' / 'segmentation.yaml'
REPORTER = """#!{python}
import json, rclpy
rclpy.init()
node = rclpy.create_node('unnamed', automatically_declare_parameters_from_overrides=True)
names = node.get_parameters_by_prefix('').keys() - {{'start_type_description_service'}}
report = {{
    'name': node.get_fully_qualified_name(),
    'image': node.resolve_topic_name('image'),
    'mask': node.resolve_topic_name('mask'),
    'parameters': {{name: node.get_parameter(name).value for name in names}},
}}
with open({report!r}, 'w') as file:
    json.dump(report, file)
rclpy.shutdown()
"""


def parameters_of_file() -> dict[str, Any]:
    content = yaml.safe_load(CONFIG_FILE.read_text(encoding='utf-8'))
    parameters: dict[str, Any] = content['/**']['ros__parameters']
    return parameters


def calls_of(name: str) -> list[ast.Call]:
    nodes = ast.walk(ast.parse(LAUNCH_FILE.read_text(encoding='utf-8')))
    return [
        node
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def overrides() -> dict[str, str]:
    """Names of the arguments that mirror a parameter, with the names of their types."""
    for node in ast.parse(LAUNCH_FILE.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'OVERRIDES':
            assert isinstance(node.value, ast.Dict)
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {ast.literal_eval(key): ast.unparse(value) for key, value in pairs if key}
    raise AssertionError('no OVERRIDES')


def test_every_argument_has_a_description_and_a_default() -> None:
    declared = calls_of('DeclareLaunchArgument')
    assert declared
    for call in declared:
        assert {'description', 'default_value'} <= {keyword.arg for keyword in call.keywords}


def test_every_override_is_declared_as_argument() -> None:
    declared = {ast.literal_eval(call.args[0]) for call in calls_of('DeclareLaunchArgument')}
    assert overrides().keys() <= declared


def test_every_override_is_a_parameter() -> None:
    assert overrides().keys() <= parameters_of_file().keys() | {'use_sim_time'}


def test_overrides_of_texts_stay_texts() -> None:
    parameters = parameters_of_file()
    for name, value_type in overrides().items():
        assert (value_type == 'str') == isinstance(parameters.get(name), str)


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the launch file with arguments; returns what the executable wrote down."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    sources = pytest.importorskip('launch.launch_description_sources')
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription

    share, executables = tmp_path / 'share' / 'dcfm_ros', tmp_path / 'lib' / 'dcfm_ros'
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    for folder in (share, executables, index):
        folder.mkdir(parents=True)
    (index / 'dcfm_ros').touch()
    (share / 'config').symlink_to(ROOT / 'config')
    report = tmp_path / 'report.json'
    executable = executables / 'segmentation_node'
    executable.write_text(REPORTER.format(python=sys.executable, report=str(report)))
    executable.chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', '71')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))

    def run(**arguments: str) -> dict[str, Any]:
        source = sources.PythonLaunchDescriptionSource(str(LAUNCH_FILE))
        include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        service = LaunchService()
        service.include_launch_description(LaunchDescription([include]))
        if service.run() != 0:
            raise RuntimeError('launch failed')
        written: dict[str, Any] = json.loads(report.read_text())
        return written

    return run


def test_without_arguments_the_node_gets_the_parameter_file(
    launch: Callable[..., dict[str, Any]],
) -> None:
    report = launch()
    assert report['name'] == '/segmentation/segmentation_node'
    assert report['image'] == '/camera/image_raw'
    assert report['mask'] == '/segmentation/mask'
    assert report['parameters'] == {**parameters_of_file(), 'use_sim_time': False}


def test_given_arguments_win_over_the_parameter_file(
    launch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    parameters = {'keyframe_interval': 3, 'device': 'cuda', 'deadline_ms': 12.5}
    file = tmp_path / 'own.yaml'
    file.write_text(
        yaml.safe_dump({'/segmentation/segmentation_node': {'ros__parameters': parameters}})
    )
    given = {'checkpoint': '/weights/own.safetensors', 'device': 'cpu', 'autostart': 'false'}
    given['execution'] = 'amortised'
    report = launch(params_file=str(file), keyframe_interval='7', use_sim_time='true', **given)
    assert report['parameters'] == {
        'checkpoint': '/weights/own.safetensors',
        'device': 'cpu',
        'keyframe_interval': 7,
        'execution': 'amortised',
        'deadline_ms': 12.5,
        'autostart': False,
        'use_sim_time': True,
    }


def test_two_cameras_have_names_and_topics_of_their_own(
    launch: Callable[..., dict[str, Any]],
) -> None:
    report = launch(namespace='rear/segmentation', image_topic='/rear/image')
    assert report['name'] == '/rear/segmentation/segmentation_node'
    assert report['image'] == '/rear/image'
    assert report['mask'] == '/rear/segmentation/mask'


def test_value_outside_the_choices_is_refused(launch: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(RuntimeError, match='launch failed'):
        launch(autostart='maybe')
