"""ground_grid.launch.py: what its arguments do to the node."""

from __future__ import annotations

from pathlib import Path

from launch_files import Prefix, parameters_of
import pytest

pytestmark = pytest.mark.dds
TOPICS = ('mask', 'camera_info', 'odom', 'ground_grid')


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prefix:
    found = Prefix(tmp_path, monkeypatch)
    script = found.node_that_reports('ground_grid_node', TOPICS)
    found.install('dcfm_ros', {'ground_grid_node': script})
    return found


def test_without_arguments_the_node_gets_the_parameter_file(prefix: Prefix) -> None:
    (report,) = prefix.run('ground_grid.launch.py').values()
    assert report['name'] == '/segmentation/ground_grid_node'
    assert report['topics'] == {
        'mask': '/segmentation/mask',
        'camera_info': '/camera/camera_info',
        'odom': '/odom',
        'ground_grid': '/segmentation/ground_grid',
    }
    assert report['parameters'] == {**parameters_of('ground_grid.yaml'), 'use_sim_time': False}


def test_given_arguments_win_over_the_parameter_file(prefix: Prefix) -> None:
    given = {'camera_height': '0.4', 'camera_pitch': '0.2', 'votes': '5', 'base_frame': 'base'}
    given |= {'free_labels': "['road', 'lawn']", 'odom_topic': '/wheels'}
    (report,) = prefix.run('ground_grid.launch.py', **given).values()
    assert report['topics']['odom'] == '/wheels'
    assert report['parameters'] == {
        **parameters_of('ground_grid.yaml'),
        'camera_height': 0.4,
        'camera_pitch': 0.2,
        'votes': 5,
        'base_frame': 'base',
        'free_labels': ['road', 'lawn'],
        'use_sim_time': False,
    }
