"""semantic_cloud.launch.py and nav2_example.launch.py: what their arguments do to the nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch_files import Prefix, parameters_of
import pytest

pytestmark = pytest.mark.dds
EXECUTABLES = {
    'dcfm_ros': ('segmentation_node', 'semantic_cloud_node'),
    'nav2_costmap_2d': ('nav2_costmap_2d',),
    'nav2_lifecycle_manager': ('lifecycle_manager',),
}
TOPICS = ('image', 'depth/image', 'depth/camera_info', 'mask', 'points')


@pytest.fixture
def launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run a launch file with arguments; what each executable wrote down, by its name."""
    prefix = Prefix(tmp_path, monkeypatch)
    for package, names in EXECUTABLES.items():
        # A lifecycle manager without a name of its own would not start in launch either.
        scripts = {name: prefix.node_that_reports(name, TOPICS) for name in names}
        prefix.install(package, scripts)

    def run(file_name: str, **arguments: str) -> dict[str, dict[str, Any]]:
        reports = prefix.run(file_name, **arguments).values()
        return {report['executable']: report for report in reports}

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
    assert report['parameters'] == {**parameters_of('semantic_cloud.yaml'), 'use_sim_time': False}


def test_given_arguments_win_over_the_parameter_file(
    launch: Callable[..., dict[str, dict[str, Any]]],
) -> None:
    given = {'stride': '4', 'max_range': '3.5', 'use_confidence': 'false', 'color': 'image'}
    given |= {'keep_labels': "['car', 'person']", 'namespace': 'segmentation/rear'}
    report = launch('semantic_cloud.launch.py', **given)['semantic_cloud_node']
    assert report['topics']['mask'] == '/segmentation/rear/mask'
    assert report['parameters'] == {
        **parameters_of('semantic_cloud.yaml'),
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
    assert clouds['parameters']['drop_labels'] == ['sky']
    assert clouds['parameters']['min_confidence'] == 0.4
    assert clouds['parameters']['stride'] == 2
    manager = reports['lifecycle_manager']['parameters']
    assert (manager['node_names'], manager['autostart']) == (['costmap'], True)
    assert all(report['parameters']['use_sim_time'] for report in reports.values())
