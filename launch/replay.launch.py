"""Play a recording to segmentation_node: with the package's player and a report, or with rosbag2.

segment.launch.py starts the node, with the arguments of the same names.
"""

from __future__ import annotations

from typing import Any

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessStart
from launch.events.process import ProcessStarted
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from dcfm_ros.ros.parameters.launch_arguments import launch_argument
from dcfm_ros.ros.parameters.segmentation import NodeParameters

OVERRIDES = ('checkpoint', 'device', 'image_transport', 'keyframe_interval')
FROM_SEGMENT = ('namespace', 'params_file', 'fastdds_profile')
SHARE = FindPackageShare('dcfm_ros')


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments, and the node and the player that they start."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'bag',
                description='The recording: a rosbag2 folder, or one of its files.',
            ),
            DeclareLaunchArgument(
                'topic',
                default_value='',
                description='Image topic of the recording. Empty: its only one; rosbag2 needs the '
                'name.',
            ),
            DeclareLaunchArgument(
                'player',
                default_value='dcfm',
                choices=['dcfm', 'rosbag2'],
                description='dcfm: play the images, measure and write a report, as '
                '`dcfm replay --online`. rosbag2: `ros2 bag play` of all topics, no report.',
            ),
            DeclareLaunchArgument(
                'report',
                default_value='out/replay',
                description='Folder of the report (player dcfm).',
            ),
            DeclareLaunchArgument(
                'mode',
                default_value='timeline',
                choices=['timeline', 'rate', 'peak'],
                description='timeline: at the rate of the recording; rate: also at `rates`; peak: '
                'also at the highest rate with at most 5 % of the frames missing (player dcfm).',
            ),
            DeclareLaunchArgument(
                'rates',
                default_value='10,15,30',
                description='Frames per second, separated by commas (player dcfm).',
            ),
            DeclareLaunchArgument(
                'speed',
                default_value='1.0',
                description='Speed relative to the recording (player rosbag2).',
            ),
            DeclareLaunchArgument(
                'delay',
                default_value='10.0',
                description='Seconds before the first image, for the node to load its network '
                '(player rosbag2; dcfm waits until the node is ready).',
            ),
            DeclareLaunchArgument(
                'fastdds_profile',
                default_value='',
                description='Fast DDS profile of node and player: large_images (packaged) or a '
                'file. Empty: as in the environment.',
            ),
            DeclareLaunchArgument(
                'namespace',
                default_value='segmentation',
                description='Namespace of the node and of its topics.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution([SHARE, 'config', 'segmentation.yaml']),
                description='YAML file with the parameters of the node.',
            ),
            *(
                DeclareLaunchArgument(name, **launch_argument(name, NodeParameters))
                for name in OVERRIDES
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list[Action]:
    """Start the node, and the player once its process runs; everything ends with the player."""
    given = dict(context.launch_configurations)
    arguments = {name: given[name] for name in (*FROM_SEGMENT, *OVERRIDES)}
    arguments['image_topic'] = 'image'
    if given['player'] == 'rosbag2':
        if not given['topic']:
            raise ValueError("`topic` must be the image topic for player:=rosbag2, got ''")
        arguments['image_topic'] = given['topic'].removesuffix('/compressed')
    segment = PathJoinSubstitution([SHARE, 'launch', 'segment.launch.py'])
    return [
        RegisterEventHandler(
            OnProcessStart(
                target_action=lambda action: 'segmentation_node' in str(action.name),
                on_start=lambda event, _: play(event, given),
            )
        ),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(segment), launch_arguments=arguments.items()
        ),
    ]


def play(event: ProcessStarted, given: dict[str, str]) -> list[Action]:
    """Start the player."""
    if given['player'] == 'rosbag2':
        command: list[Any] = ['ros2', 'bag', 'play', given['bag'], '--rate', given['speed']]
        command += ['--delay', given['delay']]
    else:
        command = [ExecutableInPackage('dcfm', 'dcfm_ros'), 'replay', given['bag'], '--online']
        command += ['--report', given['report']]
        command += ['--mode', given['mode'], '--rates', given['rates']]
        command += ['--namespace', given['namespace'] or '/', '--pid', str(event.pid)]
        command += ['--topic', given['topic']] if given['topic'] else []
    return [ExecuteProcess(cmd=command, output='screen', on_exit=Shutdown())]
