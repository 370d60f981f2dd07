"""replay.launch.py: what its arguments do to the node and to the player.

The launch tests run the launch file for real, with executables in place of node and player that
write down what was handed to them. They need launch_ros, which only a ROS machine has.
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

LAUNCH_FILE = ROOT / 'launch' / 'replay.launch.py'
REPORTER = """#!{python}
import json, os, sys, time
names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
environment = {{name: os.environ.get(name) for name in names}}
report = {{'pid': os.getpid(), 'arguments': sys.argv[1:], 'environment': environment}}
with open({report!r}, 'w') as file:
    json.dump(report, file)
time.sleep({seconds})
"""


def declared(file: Path) -> dict[str, set[str | None]]:
    """Keywords of each argument that a launch file declares."""
    calls = (
        node
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8')))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == 'DeclareLaunchArgument'
    )
    return {ast.literal_eval(call.args[0]): {k.arg for k in call.keywords} for call in calls}


def test_every_argument_has_a_description_and_only_the_bag_no_default() -> None:
    arguments = declared(LAUNCH_FILE)
    assert all('description' in keywords for keywords in arguments.values())
    assert [name for name, words in arguments.items() if 'default_value' not in words] == ['bag']


def test_arguments_for_the_node_are_those_of_its_own_launch_file() -> None:
    tree = ast.parse(LAUNCH_FILE.read_text(encoding='utf-8'))
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'FROM_SEGMENT'
    )
    assert set(names) <= declared(LAUNCH_FILE).keys()
    assert set(names) <= declared(ROOT / 'launch' / 'segment.launch.py').keys()


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the launch file; returns what node and player were handed."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    sources = pytest.importorskip('launch.launch_description_sources')
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription

    share, executables = tmp_path / 'share' / 'dcfm_ros', tmp_path / 'lib' / 'dcfm_ros'
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    tools = tmp_path / 'bin'
    for folder in (share, executables, index, tools):
        folder.mkdir(parents=True)
    (index / 'dcfm_ros').touch()
    for name in ('config', 'launch'):
        (share / name).symlink_to(ROOT / name)
    programs = {
        'node': (executables / 'segmentation_node', 30),
        'dcfm': (executables / 'dcfm', 0),
        'ros2': (tools / 'ros2', 0),
    }
    for name, (path, seconds) in programs.items():
        report = str(tmp_path / f'{name}.json')
        path.write_text(REPORTER.format(python=sys.executable, report=report, seconds=seconds))
        path.chmod(0o755)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    monkeypatch.setenv('PATH', str(tools), prepend=':')

    def run(**arguments: str) -> dict[str, Any]:
        source = sources.PythonLaunchDescriptionSource(str(LAUNCH_FILE))
        include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
        service = LaunchService()
        service.include_launch_description(LaunchDescription([include]))
        if service.run() != 0:
            raise RuntimeError('launch failed')
        files = {name: tmp_path / f'{name}.json' for name in programs}
        return {name: json.loads(f.read_text()) for name, f in files.items() if f.exists()}

    return run


def test_player_is_given_bag_rates_and_the_process_of_the_node(
    launch: Callable[..., dict[str, Any]],
) -> None:
    reports = launch(bag='/data/drive', topic='/camera', mode='rate', rates='5,20')
    given = reports['dcfm']['arguments']
    assert given[:3] == ['replay', '/data/drive', '--online']
    options = dict(zip(given[3::2], given[4::2], strict=True))
    assert options == {
        '--report': 'out/replay',
        '--mode': 'rate',
        '--rates': '5,20',
        '--namespace': 'segmentation',
        '--pid': str(reports['node']['pid']),
        '--topic': '/camera',
    }
    assert set(reports['dcfm']['environment'].values()) == {None}


def test_packaged_profile_is_for_node_and_player(launch: Callable[..., dict[str, Any]]) -> None:
    reports = launch(bag='/data/drive', fastdds_profile='large_images')
    (of_node,) = set(reports['node']['environment'].values())
    (of_player,) = set(reports['dcfm']['environment'].values())
    assert of_node == of_player
    assert Path(of_node).resolve() == ROOT / 'config' / 'fastdds_large_images.xml'


def test_rosbag2_plays_to_the_topic_of_the_recording(
    launch: Callable[..., dict[str, Any]],
) -> None:
    reports = launch(
        bag='/data/drive', player='rosbag2', topic='/camera/image/compressed', speed='0.5'
    )
    given = ['bag', 'play', '/data/drive', '--rate', '0.5', '--delay', '10.0']
    assert reports['ros2']['arguments'] == given
    assert 'dcfm' not in reports
    assert 'image:=/camera/image' in reports['node']['arguments']


def test_rosbag2_without_a_topic_is_an_error(launch: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(RuntimeError, match='launch failed'):
        launch(bag='/data/drive', player='rosbag2')
