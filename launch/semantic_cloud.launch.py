"""Start semantic_cloud_node on a depth camera beside a segmentation_node."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from dcfm_ros.ros.parameters.cloud import CloudParameters
from dcfm_ros.ros.parameters.launch_arguments import launch_argument, value_type

OVERRIDES = (
    'max_time_difference_ms',
    'use_confidence',
    'color',
    'stride',
    'max_range',
    'min_confidence',
    'drop_labels',
    'keep_labels',
)
DEFAULT_PARAMS_FILE = PathJoinSubstitution(
    [FindPackageShare('dcfm_ros'), 'config', 'semantic_cloud.yaml']
)


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the node they start."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'namespace',
                default_value='segmentation',
                description='Namespace of mask, confidence and labels, and of the clouds; '
                'segmentation/<camera> for one of several cameras of a segmentation_node.',
            ),
            DeclareLaunchArgument(
                'depth_topic',
                default_value='/camera/aligned_depth_to_color/image_raw',
                description='Rectified depth, registered to the camera of the masks, '
                'sensor_msgs/Image (16UC1 in mm or 32FC1 in m).',
            ),
            DeclareLaunchArgument(
                'camera_info_topic',
                default_value='/camera/aligned_depth_to_color/camera_info',
                description='Calibration of the depth, sensor_msgs/CameraInfo.',
            ),
            DeclareLaunchArgument(
                'image_topic',
                default_value='/camera/image_raw',
                description='Camera images, sensor_msgs/Image; only with color:=image.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=DEFAULT_PARAMS_FILE,
                description='YAML file with the parameters of the node, under /** or its full '
                'name; the node warns if a file misses it.',
            ),
            *(
                DeclareLaunchArgument(name, **launch_argument(name, CloudParameters))
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
            LaunchConfiguration(name), value_type=value_type(name, CloudParameters)
        )
        for name in (*OVERRIDES, 'use_sim_time')
        if LaunchConfiguration(name).perform(context)
    }
    return [
        Node(
            package='dcfm_ros',
            executable='semantic_cloud_node',
            namespace=LaunchConfiguration('namespace'),
            name='semantic_cloud_node',
            parameters=[LaunchConfiguration('params_file'), overrides],
            remappings=[
                ('depth/image', LaunchConfiguration('depth_topic')),
                ('depth/camera_info', LaunchConfiguration('camera_info_topic')),
                ('image', LaunchConfiguration('image_topic')),
            ],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
        )
    ]
