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
from repository import ROOT
import yaml

LAUNCH_FILE = ROOT / 'launch' / 'segment.launch.py'
CONFIG_FILE = ROOT / 'config' / 'segmentation.yaml'
CAMERAS = {'cameras': 'front=/front/camera/color, rear', 'image_topic': '/not/used'}
TOPICS = [
    f'{camera}{topic}'
    for camera in ('', 'front/', 'rear/')
    for topic in ('image', 'image/compressed', 'camera_info', 'mask')
]
REPORTER = """#!{python}
import json, rclpy
rclpy.init()
node = rclpy.create_node('unnamed', automatically_declare_parameters_from_overrides=True)
names = node.get_parameters_by_prefix('').keys() - {{'start_type_description_service'}}
report = {{
    'name': node.get_fully_qualified_name(),
    'topics': {{name: node.resolve_topic_name(name) for name in {topics!r}}},
    'parameters': {{name: node.get_parameter(name).value for name in names}},
}}
with open({folder!r} + report['name'].replace('/', '.'), 'w') as file:
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
def launch_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Run the launch file with arguments; returns what each node wrote down, by names."""
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
    reports = tmp_path / 'reports'
    reports.mkdir()
    executable = executables / 'segmentation_node'
    executable.write_text(
        REPORTER.format(python=sys.executable, topics=TOPICS, folder=f'{reports}/')
    )
    executable.chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', '71')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))

    def run(**arguments: str) -> list[dict[str, Any]]:
        source = sources.PythonLaunchDescriptionSource(str(LAUNCH_FILE))
        include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        service = LaunchService()
        service.include_launch_description(LaunchDescription([include]))
        if service.run() != 0:
            raise RuntimeError('launch failed')
        return [json.loads(report.read_text()) for report in sorted(reports.iterdir())]

    return run


@pytest.fixture
def launch(launch_all: Callable[..., list[dict[str, Any]]]) -> Callable[..., dict[str, Any]]:
    """The same for one node."""

    def run(**arguments: str) -> dict[str, Any]:
        (report,) = launch_all(**arguments)
        return report

    return run


def test_without_arguments_the_node_gets_the_parameter_file(
    launch: Callable[..., dict[str, Any]],
) -> None:
    report = launch()
    assert report['name'] == '/segmentation/segmentation_node'
    assert report['topics']['image'] == '/camera/image_raw'
    assert report['topics']['mask'] == '/segmentation/mask'
    assert report['parameters'] == {**parameters_of_file(), 'use_sim_time': False}


def test_given_arguments_win_over_the_parameter_file(
    launch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    parameters = {'keyframe_interval': 5, 'device': 'cuda', 'deadline_ms': 12.5}
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
    assert report['topics']['image'] == '/rear/image'
    assert report['topics']['mask'] == '/rear/segmentation/mask'


def test_what_image_transport_puts_beside_an_image_is_found(
    launch: Callable[..., dict[str, Any]],
) -> None:
    topics = launch(image_topic='/front/camera/image_raw', image_transport='compressed')['topics']
    assert topics['image/compressed'] == '/front/camera/image_raw/compressed'
    assert topics['camera_info'] == '/front/camera/camera_info'


def test_topic_of_compressed_images_has_its_camera_info_beside_the_raw_one(
    launch: Callable[..., dict[str, Any]],
) -> None:
    topic = '/front/camera/image_raw/compressed'
    topics = launch(image_topic=topic, image_transport='compressed')['topics']
    assert topics['image'] == topics['image/compressed'] == topic
    assert topics['camera_info'] == '/front/camera/camera_info'


def test_one_node_takes_several_cameras(launch: Callable[..., dict[str, Any]]) -> None:
    report = launch(**CAMERAS, namespace='car')
    assert report['name'] == '/car/segmentation_node'
    assert report['parameters']['cameras'] == ['front', 'rear']
    topics = report['topics']
    assert topics['front/image'] == '/front/camera/color'
    assert topics['front/camera_info'] == '/front/camera/camera_info'
    assert topics['rear/image/compressed'] == '/rear/image_raw/compressed'
    assert (topics['front/mask'], topics['rear/mask']) == ('/car/front/mask', '/car/rear/mask')


def test_each_camera_can_have_a_node(launch_all: Callable[..., list[dict[str, Any]]]) -> None:
    front, rear = launch_all(**CAMERAS, namespace='car', nodes='per_camera', device='cpu')
    assert front['name'] == '/car/front/segmentation_node'
    assert rear['name'] == '/car/rear/segmentation_node'
    assert front['topics']['image'] == '/front/camera/color'
    assert rear['topics']['image'] == '/rear/image_raw'
    # As with one node for all.
    assert (front['topics']['mask'], rear['topics']['mask']) == (
        '/car/front/mask',
        '/car/rear/mask',
    )
    for report in (front, rear):
        assert report['parameters'] == {
            **parameters_of_file(),
            'device': 'cpu',
            'use_sim_time': False,
        }


@pytest.mark.parametrize('cameras', ['front,front', '=/front/image', 'front=/a,front=/b'])
def test_cameras_without_names_of_their_own_are_refused(
    launch_all: Callable[..., list[dict[str, Any]]], cameras: str
) -> None:
    with pytest.raises(RuntimeError, match='launch failed'):
        launch_all(cameras=cameras)


def test_value_outside_the_choices_is_refused(launch: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(RuntimeError, match='launch failed'):
        launch(autostart='maybe')
