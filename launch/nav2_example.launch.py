"""A costmap of classes: segmentation, labelled cloud and a stand-alone costmap of Nav2.

An example to copy from: on a robot the layers go into the costmaps of its Nav2.
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('dcfm_ros')


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and what they start."""
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'image_topic',
                default_value='/camera/color/image_raw',
                description='Camera images, sensor_msgs/Image.',
            ),
            DeclareLaunchArgument(
                'depth_topic',
                default_value='/camera/aligned_depth_to_color/image_raw',
                description='Rectified depth, registered to the camera, sensor_msgs/Image.',
            ),
            DeclareLaunchArgument(
                'camera_info_topic',
                default_value='/camera/aligned_depth_to_color/camera_info',
                description='Calibration of the depth, sensor_msgs/CameraInfo.',
            ),
            DeclareLaunchArgument(
                'keep_labels',
                default_value="['car', 'pedestrian', 'bicyclist']",
                description='Classes that the obstacle layer marks.',
            ),
            DeclareLaunchArgument(
                'drop_labels',
                default_value="['sky']",
                description='Classes that have no points: what depth there is at their edges is '
                'that of something else.',
            ),
            DeclareLaunchArgument(
                'min_confidence',
                default_value='0.4',
                description='Lowest confidence of a point; the class of the others is a guess.',
            ),
            DeclareLaunchArgument(
                'stride',
                default_value='2',
                description='Step between the rows and columns of the depth that become points; '
                'costmaps of 5 cm need few.',
            ),
            DeclareLaunchArgument(
                'costmap_file',
                default_value=PathJoinSubstitution([SHARE, 'config', 'nav2_semantic_layer.yaml']),
                description='YAML file with the parameters of the costmap.',
            ),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='false',
                choices=['true', 'false'],
                description='Use the time of /clock, for a replayed bag.',
            ),
            include('segment.launch.py', 'image_topic', 'use_sim_time'),
            include(
                'semantic_cloud.launch.py',
                'depth_topic',
                'camera_info_topic',
                'keep_labels',
                'drop_labels',
                'min_confidence',
                'stride',
                'use_sim_time',
            ),
            Node(
                package='nav2_costmap_2d',
                executable='nav2_costmap_2d',
                parameters=[LaunchConfiguration('costmap_file'), {'use_sim_time': use_sim_time}],
                output='screen',
            ),
            Node(
                package='nav2_lifecycle_manager',
                executable='lifecycle_manager',
                name='lifecycle_manager_costmap',
                parameters=[
                    {'autostart': True, 'node_names': ['costmap'], 'use_sim_time': use_sim_time}
                ],
                output='screen',
            ),
        ]
    )


def include(file_name: str, *arguments: str) -> IncludeLaunchDescription:
    """Start another launch file of this package with arguments of this one."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, 'launch', file_name])),
        launch_arguments=[(name, LaunchConfiguration(name)) for name in arguments],
    )
