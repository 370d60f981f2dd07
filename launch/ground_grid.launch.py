"""Start ground_grid_node beside a segmentation_node."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dcfm_ros.ros.parameters.ground import GroundParameters
from dcfm_ros.ros.parameters.launch_arguments import launch_argument, value_type

OVERRIDES = (
    'base_frame',
    'free_labels',
    'ignore_labels',
    'resolution',
    'ahead',
    'aside',
    'min_range',
    'max_range',
    'min_confidence',
    'votes',
    'camera_height',
    'camera_pitch',
)
DEFAULT_PARAMS_FILE = PathJoinSubstitution(
    [FindPackageShare('dcfm_ros'), 'config', 'ground_grid.yaml']
)


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the node they start."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'namespace',
                default_value='segmentation',
                description='Namespace of mask and labels, and of the grid; '
                'segmentation/<camera> for one of several cameras of a segmentation_node.',
            ),
            DeclareLaunchArgument(
                'camera_info_topic',
                default_value='/camera/camera_info',
                description='Calibration of the camera, sensor_msgs/CameraInfo.',
            ),
            DeclareLaunchArgument(
                'odom_topic',
                default_value='/odom',
                description='Odometry of the base, nav_msgs/Odometry; only with votes above 1.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=DEFAULT_PARAMS_FILE,
                description='YAML file with the parameters of the node, under /** or its full '
                'name; the node warns if a file misses it.',
            ),
            *(
                DeclareLaunchArgument(name, **launch_argument(name, GroundParameters))
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
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Lowest severity that is logged.',
            ),
            OpaqueFunction(function=start_node),
        ]
    )


def start_node(context: LaunchContext) -> list[Node]:
    """Start the node with the given overrides."""
    overrides = {
        name: ParameterValue(
            LaunchConfiguration(name), value_type=value_type(name, GroundParameters)
        )
        for name in (*OVERRIDES, 'use_sim_time')
        if LaunchConfiguration(name).perform(context)
    }
    return [
        Node(
            package='dcfm_ros',
            executable='ground_grid_node',
            namespace=LaunchConfiguration('namespace'),
            name='ground_grid_node',
            parameters=[LaunchConfiguration('params_file'), overrides],
            remappings=[
                ('camera_info', LaunchConfiguration('camera_info_topic')),
                ('odom', LaunchConfiguration('odom_topic')),
            ],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
        )
    ]
