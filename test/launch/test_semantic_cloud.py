"""semantic_cloud.launch.py and nav2_example.launch.py: what their arguments do to the nodes.

The launch tests run the files for real, with executables in place of the nodes that write down
what ROS handed to them. They need launch_ros, which only a ROS machine has.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
import json
from pathlib import Path
import sys
from typing import Any

import pytest
from repository import ROOT
import yaml

LAUNCH = ROOT / 'launch'
FILES = ('semantic_cloud.launch.py', 'nav2_example.launch.py')
EXECUTABLES = {
    'dcfm_ros': ('segmentation_node', 'semantic_cloud_node'),
    'nav2_costmap_2d': ('nav2_costmap_2d',),
    'nav2_lifecycle_manager': ('lifecycle_manager',),
}
REPORTER = """#!{python}
import json, rclpy
rclpy.init()
node = rclpy.create_node({name!r}, automatically_declare_parameters_from_overrides=True)
names = node.get_parameters_by_prefix('').keys() - {{'start_type_description_service'}}
topics = ('image', 'depth/image', 'depth/camera_info', 'mask', 'points')
report = {{
    'name': node.get_fully_qualified_name(),
    'topics': {{name: node.resolve_topic_name(name) for name in topics}},
    'parameters': {{name: node.get_parameter(name).value for name in names}},
}}
with open({report!r}, 'w') as file:
    json.dump(report, file)
rclpy.shutdown()
"""


def parameters_of_file() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / 'config' / 'semantic_cloud.yaml').read_text(encoding='utf-8'))
    parameters: dict[str, Any] = content['/**']['ros__parameters']
    return parameters


def calls_of(file_name: str, name: str) -> list[ast.Call]:
    tree = ast.parse((LAUNCH / file_name).read_text(encoding='utf-8'))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


@pytest.mark.parametrize('file_name', FILES)
def test_every_argument_has_a_description_and_a_default(file_name: str) -> None:
    declared = calls_of(file_name, 'DeclareLaunchArgument')
    assert declared
    for call in declared:
        assert {'description', 'default_value'} <= {keyword.arg for keyword in call.keywords}


def test_every_override_is_an_argument_and_a_parameter() -> None:
    tree = ast.parse((LAUNCH / FILES[0]).read_text(encoding='utf-8'))
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'OVERRIDES'
    )
    assert isinstance(table, ast.Dict)
    keys = {ast.literal_eval(key) for key in table.keys if key}
    arguments = {
        ast.literal_eval(call.args[0]) for call in calls_of(FILES[0], 'DeclareLaunchArgument')
    }
    assert keys <= arguments
    assert keys <= parameters_of_file().keys() | {'use_sim_time'}


def test_example_gives_arguments_that_the_included_files_have() -> None:
    for call in calls_of('nav2_example.launch.py', 'include'):
        file_name, *given = (ast.literal_eval(argument) for argument in call.args)
        declared = calls_of(file_name, 'DeclareLaunchArgument')
        assert set(given) <= {ast.literal_eval(argument.args[0]) for argument in declared}


@pytest.fixture
def launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run a launch file with arguments; returns what each executable wrote down, by its name."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    sources = pytest.importorskip('launch.launch_description_sources')
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription

    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    reports = tmp_path / 'reports'
    for folder in (index, reports):
        folder.mkdir(parents=True)
    for package, names in EXECUTABLES.items():
        share, executables = tmp_path / 'share' / package, tmp_path / 'lib' / package
        for folder in (share, executables):
            folder.mkdir(parents=True)
        (index / package).touch()
        for name in names:
            # A lifecycle manager without a name of its own would not start in launch either.
            text = REPORTER.format(python=sys.executable, name=name, report=str(reports / name))
            (executables / name).write_text(text)
            (executables / name).chmod(0o755)
    for folder_name in ('config', 'launch'):
        (tmp_path / 'share' / 'dcfm_ros' / folder_name).symlink_to(ROOT / folder_name)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', '72')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))

    def run(file_name: str, **arguments: str) -> dict[str, dict[str, Any]]:
        source = sources.PythonLaunchDescriptionSource(str(LAUNCH / file_name))
        include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        service = LaunchService()
        service.include_launch_description(LaunchDescription([include]))
        if service.run() != 0:
            raise RuntimeError('launch failed')
        return {report.name: json.loads(report.read_text()) for report in reports.iterdir()}

    return run


def test_without_arguments_the_node_gets_the_parameter_file(
    launch: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    report = launch('semantic_cloud.launch.py')['semantic_cloud_node']
    assert report['name'] == '/segmentation/semantic_cloud_node'
    assert report['topics'] == {
        'image': '/camera/image_raw',
        'depth/image': '/camera/aligned_depth_to_color/image_raw',
        'depth/camera_info': '/camera/aligned_depth_to_color/camera_info',
        'mask': '/segmentation/mask',
        'points': '/segmentation/points',
    }
    assert report['parameters'] == {**parameters_of_file(), 'use_sim_time': False}


def test_given_arguments_win_over_the_parameter_file(
    launch: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    given = {'stride': '4', 'max_range': '3.5', 'use_confidence': 'false', 'color': 'image'}
    given |= {'keep_labels': "['car', 'person']", 'namespace': 'segmentation/rear'}
    report = launch('semantic_cloud.launch.py', **given)['semantic_cloud_node']
    assert report['topics']['mask'] == '/segmentation/rear/mask'
    assert report['parameters'] == {
        **parameters_of_file(),
        'stride': 4,
        'max_range': 3.5,
        'use_confidence': False,
        'color': 'image',
        'keep_labels': ['car', 'person'],
        'use_sim_time': False,
    }


def test_example_starts_segmentation_clouds_and_a_costmap(
    launch: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    reports = launch('nav2_example.launch.py', use_sim_time='true', depth_topic='/depth')
    assert reports.keys() == {name for names in EXECUTABLES.values() for name in names}
    assert reports['segmentation_node']['topics']['image'] == '/camera/color/image_raw'
    clouds = reports['semantic_cloud_node']
    assert clouds['topics']['depth/image'] == '/depth'
    assert clouds['parameters']['keep_labels'] == ['car', 'pedestrian', 'bicyclist']
    assert clouds['parameters']['stride'] == 2
    manager = reports['lifecycle_manager']['parameters']
    assert (manager['node_names'], manager['autostart']) == (['costmap'], True)
    assert all(report['parameters']['use_sim_time'] for report in reports.values())
