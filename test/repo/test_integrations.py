"""Files for Nav2, RViz and Foxglove: they name what the nodes publish, and no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import json
import re
from typing import Any

import pytest
from repository import ROOT
import yaml

NAV2 = ROOT / 'config' / 'nav2_semantic_layer.yaml'
FOXGLOVE = ROOT / 'config' / 'foxglove_layout.json'
RVIZ = ROOT / 'rviz' / 'segmentation.rviz'
CLOUDS = {'points', 'points/filtered'}
# Parameters that semantic_segmentation_layer b269885 and nav2_costmap_2d (humble to main) declare.
LAYER = {'plugin', 'enabled', 'combination_method', 'observation_sources', 'publish_debug_topics'}
SEMANTIC_LAYER = LAYER | {'use_approximate_time_sync', 'sensor_data_depth'}
SEMANTIC_SOURCE = {
    'segmentation_topic', 'confidence_topic', 'labels_topic', 'pointcloud_topic',
    'observation_persistence', 'expected_update_rate', 'class_types', 'max_obstacle_distance',
    'min_obstacle_distance', 'tile_map_decay_time', 'visualize_tile_map', 'use_cost_selection',
    'camera_horizontal_fov', 'camera_vertical_fov', 'fov_decay_time', 'outside_fov_decay_time',
    'visualize_frustum_fov',
}  # fmt: skip
CLASS_TYPE = {'classes', 'base_cost', 'max_cost', 'mark_confidence', 'samples_to_max_cost'}
OBSTACLE_LAYER = LAYER | {'footprint_clearing_enabled', 'max_obstacle_height'}
STATIC_LAYER = {
    'plugin', 'enabled', 'map_topic', 'map_subscribe_transient_local', 'subscribe_to_updates',
    'footprint_clearing_enabled', 'restore_cleared_footprint',
}  # fmt: skip
OBSTACLE_SOURCE = {
    'topic', 'sensor_frame', 'observation_persistence', 'expected_update_rate', 'data_type',
    'min_obstacle_height', 'max_obstacle_height', 'inf_is_valid', 'marking', 'clearing',
    'obstacle_max_range', 'obstacle_min_range', 'raytrace_max_range', 'raytrace_min_range',
}  # fmt: skip


def costmap() -> dict[str, Any]:
    content = yaml.safe_load(NAV2.read_text(encoding='utf-8'))
    parameters: dict[str, Any] = content['costmap']['ros__parameters']
    return parameters


def keys_of(table: dict[str, Any], *but: str) -> set[str]:
    return table.keys() - set(but)


def published() -> dict[str, set[str]]:
    """Topics by kind, as the nodes name them."""
    pytest.importorskip('rclpy')
    pytest.importorskip('nav_msgs')
    from dcfm_ros.cloud import node as semantic_cloud_node
    from dcfm_ros.ground.node import OUTPUTS as GROUND_OUTPUTS
    from dcfm_ros.ros.camera_topics import OUTPUTS

    tables = OUTPUTS | semantic_cloud_node.OUTPUTS | GROUND_OUTPUTS
    kinds: dict[str, set[str]] = {}
    for topic, kind, _ in tables.values():
        kinds.setdefault(kind.__name__, set()).add(topic)
    return kinds


def test_nav2_layers_have_known_parameters_only() -> None:
    layers = costmap()
    semantic, obstacle = layers['semantic_layer'], layers['obstacle_layer']
    camera, moving = semantic['camera'], obstacle['moving']
    assert keys_of(semantic, 'camera') <= SEMANTIC_LAYER
    assert keys_of(camera, *camera['class_types']) <= SEMANTIC_SOURCE
    assert {name for name in SEMANTIC_SOURCE if 'fov' in name} <= camera.keys()
    for name in camera['class_types']:
        assert keys_of(camera[name], 'dominant_priority') == CLASS_TYPE
    assert keys_of(obstacle, 'moving') <= OBSTACLE_LAYER
    assert keys_of(moving) <= OBSTACLE_SOURCE
    assert set(layers['plugins']) == {'semantic_layer', 'obstacle_layer', 'inflation_layer'}


def test_nav2_layers_listen_to_what_the_nodes_publish() -> None:
    camera = costmap()['semantic_layer']['camera']
    topics = {camera[f'{name}_topic'] for name in ('segmentation', 'confidence')}
    kinds = published()
    assert topics == {f'/segmentation/{name}' for name in ('points/mask', 'points/confidence')}
    assert {'points/mask', 'points/confidence'} <= kinds['Image']
    assert camera['pointcloud_topic'] == '/segmentation/points'
    assert costmap()['obstacle_layer']['moving']['topic'] == '/segmentation/points/filtered'
    assert kinds['PointCloud2'] == CLOUDS


def class_names() -> set[str]:
    """Classes of the packaged weights; the file is read, no PyTorch."""
    from safetensors import safe_open

    path = ROOT / 'models' / 'weights' / 'default.safetensors'
    if not path.is_file():
        pytest.skip('no packaged weights')
    with safe_open(path, 'numpy') as weights:  # type: ignore[no-untyped-call]
        return set(json.loads(weights.metadata()['config'])['class_names'])


def test_nav2_classes_are_those_of_the_packaged_weights() -> None:
    camera = costmap()['semantic_layer']['camera']
    named = [name for kind in camera['class_types'] for name in camera[kind]['classes']]
    assert len(named) == len(set(named))
    assert set(named) == class_names()  # one that is missing is an error of the layer


def test_run_lengths_map_the_classes_of_the_packaged_weights() -> None:
    pytest.importorskip('rclpy')
    from dcfm_ros.ros.run_length_node import RunLengthParameters

    mapped = {entry.partition(':')[0] for entry in RunLengthParameters().class_map}
    assert mapped == class_names()


def test_example_keeps_and_drops_classes_of_the_packaged_weights() -> None:
    tree = ast.parse((ROOT / 'launch' / 'nav2_example.launch.py').read_text(encoding='utf-8'))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    lists = [text for text in texts if isinstance(text, str) and text.startswith("['")]
    kept, dropped = (set(yaml.safe_load(text)) for text in lists)
    assert kept | dropped < class_names()
    camera = costmap()['semantic_layer']['camera']
    assert dropped == set(camera['unseen']['classes'])
    assert kept <= set(camera['lethal']['classes'])


def panels_of(layout: Any) -> Iterator[str]:
    if isinstance(layout, str):
        yield layout
    else:
        yield from panels_of(layout['first'])
        yield from panels_of(layout['second'])


def test_foxglove_shows_each_panel_once() -> None:
    layout = json.loads(FOXGLOVE.read_text(encoding='utf-8'))
    shown = list(panels_of(layout['layout']))
    assert sorted(shown) == sorted(layout['configById'])
    kinds = {name.partition('!')[0] for name in shown}
    assert kinds == {'Image', '3D', 'Plot', 'DiagnosticSummary', 'DiagnosticStatusPanel'}


def test_foxglove_and_rviz_show_what_the_nodes_publish() -> None:
    kinds = published()
    layout = json.loads(FOXGLOVE.read_text(encoding='utf-8'))['configById']
    images = {
        panel['imageMode']['imageTopic'] for name, panel in layout.items() if 'Image!' in name
    }
    in_space = set(layout['3D!cloud']['topics'])
    displays = yaml.safe_load(RVIZ.read_text(encoding='utf-8'))['Visualization Manager'][
        'Displays'
    ]
    shown: dict[str, set[str]] = {'Image': images, 'PointCloud2': set(), 'Map': set()}
    for display in displays:
        shown[display['Class'].rpartition('/')[2]].add(display['Topic']['Value'])
    assert images - {'/camera/image_raw'} <= {f'/segmentation/{name}' for name in kinds['Image']}
    assert shown['PointCloud2'] == {f'/segmentation/{name}' for name in CLOUDS}
    assert shown['Map'] == {f'/segmentation/{name}' for name in kinds['OccupancyGrid']}
    assert in_space == shown['PointCloud2'] | shown['Map']


def test_rviz_asks_for_what_is_latched_as_latched() -> None:
    displays = yaml.safe_load(RVIZ.read_text(encoding='utf-8'))['Visualization Manager'][
        'Displays'
    ]
    durability = {
        display['Topic']['Value']: display['Topic']['Durability Policy'] for display in displays
    }
    latched = {topic for topic, policy in durability.items() if policy == 'Transient Local'}
    assert latched == {'/segmentation/ground_grid'}


def test_foxglove_plots_values_of_timing() -> None:
    """Every key that is plotted is one that ~/timing has; see `FrameTiming`."""
    layout = json.loads(FOXGLOVE.read_text(encoding='utf-8'))['configById']
    paths = [p['value'] for panel in layout.values() for p in panel.get('paths', [])]
    keys = {match for path in paths for match in re.findall(r'key=="(\w+)"', path)}
    manual = (ROOT / 'docs' / 'node.md').read_text(encoding='utf-8')
    told = manual[manual.index('- **~/timing**') : manual.index('- **~/debug')]
    assert keys
    assert not {key for key in keys if f'`{key}`' not in told}
    topics = {path.removesuffix('.data') for path in paths if path.endswith('.data')}
    debug = {f'~/debug/{topic.rpartition("/")[2]}' for topic in topics}
    assert debug <= published()['Float64']


def test_ground_costmap_reads_the_grid_and_names_what_the_static_layer_declares() -> None:
    pytest.importorskip('nav_msgs')
    from dcfm_ros.ground.node import NAME

    path = ROOT / 'config' / 'nav2_ground_grid.yaml'
    content = yaml.safe_load(path.read_text(encoding='utf-8'))
    costmap = content['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['plugins'][0] == 'ground_layer'
    # The layer moves grids of another frame in rolling costmaps only, and takes what is unknown
    # for free unless the costmap tracks it.
    assert costmap['rolling_window'] is costmap['track_unknown_space'] is True
    layer = costmap['ground_layer']
    assert layer.keys() <= STATIC_LAYER
    assert layer['map_topic'] == '/segmentation/ground_grid'
    assert NAME in path.read_text(encoding='utf-8')
    manual = (ROOT / 'docs' / 'ground_grid.md').read_text(encoding='utf-8')
    shown = yaml.safe_load(manual.partition('```yaml')[2].partition('```')[0])
    assert shown['ground_layer'].items() <= layer.items()
