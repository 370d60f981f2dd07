"""replay.launch.py: what its arguments do to the node and to the player."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys
from typing import Any

from launch_files import Prefix
import pytest
from repository import ROOT

from dcfm_ros.play.fastdds import VARIABLES, profile_variable

pytestmark = pytest.mark.dds
REPORTER = """#!{python}
import json, os, sys, time
names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
environment = {{name: os.environ.get(name) for name in names}}
report = {{'name': {name!r}, 'pid': os.getpid(), 'arguments': sys.argv[1:]}}
with open({report!r}, 'w') as file:
    json.dump(report | {{'environment': environment}}, file)
time.sleep({seconds})
"""


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the launch file; what node and player were handed."""
    prefix = Prefix(tmp_path, monkeypatch)

    def script(name: str, seconds: float = 0) -> str:
        report = str(prefix.reports / name)
        return REPORTER.format(python=sys.executable, name=name, report=report, seconds=seconds)

    prefix.install('dcfm_ros', {'segmentation_node': script('node', 30), 'dcfm': script('dcfm')})
    tools = tmp_path / 'bin'
    tools.mkdir()
    (tools / 'ros2').write_text(script('ros2'))
    (tools / 'ros2').chmod(0o755)
    monkeypatch.setenv('PATH', str(tools), prepend=':')
    return lambda **arguments: prefix.run('replay.launch.py', **arguments)


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


def test_packaged_profile_is_for_node_and_player(
    launch: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, '/of/somebody/else.xml')
    reports = launch(bag='/data/drive', fastdds_profile='large_images')
    environment = reports['node']['environment']
    assert environment == reports['dcfm']['environment']
    (name,) = (name for name, value in environment.items() if value)
    assert name == profile_variable()
    assert Path(environment[name]).resolve() == ROOT / 'config' / 'fastdds_large_images.xml'


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
