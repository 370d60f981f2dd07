"""Start segmentation_node on one camera topic or several, in one node or in a node per camera.

The arguments of `OVERRIDES` are node parameters; left empty, they stay as in the parameter file.
"""

from __future__ import annotations

from posixpath import dirname, join
from typing import Any

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    UnsetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dcfm_ros.play.fastdds import VARIABLES, profile_variable
from dcfm_ros.ros.parameters.launch_arguments import launch_argument, value_type
from dcfm_ros.ros.parameters.segmentation import NodeParameters

OVERRIDES = (
    'checkpoint',
    'device',
    'image_transport',
    'keyframe_interval',
    'execution',
    'autostart',
)
DEFAULT_PARAMS_FILE = PathJoinSubstitution(
    [FindPackageShare('dcfm_ros'), 'config', 'segmentation.yaml']
)
PACKAGED_PROFILE = PathJoinSubstitution(
    [FindPackageShare('dcfm_ros'), 'config', 'fastdds_large_images.xml']
)


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the nodes they start."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'namespace',
                default_value='segmentation',
                description='Namespace of the node and of its topics.',
            ),
            DeclareLaunchArgument(
                'image_topic',
                default_value='/camera/image_raw',
                description='Camera images, sensor_msgs/Image; ignored with cameras. Compressed '
                'images are expected on <image_topic>/compressed, camera_info beside '
                '<image_topic>.',
            ),
            DeclareLaunchArgument(
                'cameras',
                default_value='',
                description='Several cameras: names and image topics, such as '
                'front=/front/image_raw,rear=/rear/image_raw. A name alone means '
                '<name>=/<name>/image_raw. Masks are on <namespace>/<name>/mask. Empty: one '
                'camera without a name, on image_topic.',
            ),
            DeclareLaunchArgument(
                'nodes',
                default_value='one',
                choices=['one', 'per_camera'],
                description='With cameras: one node, which loads the network once and processes '
                'one frame at a time, or a node per camera, named '
                '<namespace>/<name>/segmentation_node, for machines with cores (or GPU memory) '
                'to spare.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=DEFAULT_PARAMS_FILE,
                description='YAML file with the parameters of the node, under /** or its full '
                'name; the node warns if a file misses it.',
            ),
            *(
                DeclareLaunchArgument(name, **launch_argument(name, NodeParameters))
                for name in OVERRIDES
            ),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='',
                choices=['', 'true', 'false'],
                description='Use the time of /clock, for a replayed bag. Empty: as in '
                'params_file.',
            ),
            DeclareLaunchArgument(
                'fastdds_profile',
                default_value='',
                description='Fast DDS profile of everything launched here: large_images '
                '(packaged) or a file. The camera driver needs it too. Empty: as in the '
                'environment.',
            ),
            DeclareLaunchArgument(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Lowest severity that is logged.',
            ),
            OpaqueFunction(function=set_profile),
            OpaqueFunction(function=start_nodes),
        ]
    )


def set_profile(context: LaunchContext) -> list[Action]:
    """Set the given Fast DDS profile for everything launched from here on."""
    profile = LaunchConfiguration('fastdds_profile').perform(context)
    if not profile:
        return []
    if profile == 'large_images':
        profile = PACKAGED_PROFILE.perform(context)
    others = set(VARIABLES) - {profile_variable()}
    return [
        SetEnvironmentVariable(profile_variable(), profile),
        *map(UnsetEnvironmentVariable, others),  # it could override that
    ]


def start_nodes(context: LaunchContext) -> list[Node]:
    """Start a node, or one per camera, with the given overrides."""
    overrides: dict[str, Any] = {
        name: ParameterValue(
            LaunchConfiguration(name), value_type=value_type(name, NodeParameters)
        )
        for name in (*OVERRIDES, 'use_sim_time')
        if LaunchConfiguration(name).perform(context)
    }
    namespace = LaunchConfiguration('namespace').perform(context)
    cameras = read_cameras(LaunchConfiguration('cameras').perform(context))
    if not cameras:
        image_topic = LaunchConfiguration('image_topic').perform(context)
        return [make_node(namespace, overrides, remappings('', image_topic))]
    if LaunchConfiguration('nodes').perform(context) == 'per_camera':
        return [
            make_node(f'{namespace}/{name}', overrides, remappings('', topic))
            for name, topic in cameras.items()
        ]
    overrides['cameras'] = list(cameras)
    pairs = [pair for name, topic in cameras.items() for pair in remappings(f'{name}/', topic)]
    return [make_node(namespace, overrides, pairs)]


def read_cameras(text: str) -> dict[str, str]:
    """Image topics by camera name, in order; see argument `cameras`."""
    cameras: dict[str, str] = {}
    for entry in filter(None, map(str.strip, text.split(','))):
        name, _, topic = map(str.strip, entry.partition('='))
        if not name or name in cameras:
            raise ValueError(f'`cameras` must be different names, as name=topic,..., got {text!r}')
        cameras[name] = topic or f'/{name}/image_raw'
    return cameras


def remappings(prefix: str, topic: str) -> list[tuple[str, str]]:
    """From the node's topics of a camera to those of its driver."""
    raw = topic.removesuffix('/compressed')
    return [
        (f'{prefix}image', topic),
        (f'{prefix}image/compressed', f'{raw}/compressed'),
        (f'{prefix}camera_info', join(dirname(raw), 'camera_info')),
    ]


def make_node(namespace: str, overrides: dict[str, Any], remapped: list[tuple[str, str]]) -> Node:
    """Describe one node."""
    return Node(
        package='dcfm_ros',
        executable='segmentation_node',
        namespace=namespace,
        name='segmentation_node',
        parameters=[LaunchConfiguration('params_file'), overrides],
        remappings=remapped,
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
