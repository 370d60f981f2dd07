"""segment.launch.py: what its arguments do to the node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch_files import Prefix, parameters_of
import pytest
import yaml

pytestmark = pytest.mark.dds
CAMERAS = {'cameras': 'front=/front/camera/color, rear', 'image_topic': '/not/used'}
TOPICS = tuple(
    f'{camera}{topic}'
    for camera in ('', 'front/', 'rear/')
    for topic in ('image', 'image/compressed', 'camera_info', 'mask')
)


@pytest.fixture
def launch_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[dict[str, Any]]]:
    """Run the launch file with arguments; what each node wrote down, by names."""
    prefix = Prefix(tmp_path, monkeypatch)
    script = prefix.node_that_reports('unnamed', TOPICS)
    prefix.install('dcfm_ros', {'segmentation_node': script})
    return lambda **arguments: list(prefix.run('segment.launch.py', **arguments).values())


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
    assert report['parameters'] == {**parameters_of('segmentation.yaml'), 'use_sim_time': False}


def test_given_arguments_win_over_the_parameter_file(
    launch: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    parameters = {'keyframe_interval': 5, 'device': 'cuda', 'overlay_alpha': 0.25}
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
        'overlay_alpha': 0.25,
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
            **parameters_of('segmentation.yaml'),
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
