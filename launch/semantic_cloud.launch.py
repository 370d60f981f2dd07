"""Start semantic_cloud_node on a depth camera beside a segmentation_node."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# With None, YAML decides on the type, and the node itself says what is wrong with a wrong one.
OVERRIDES = {
    'max_time_difference_ms': None,
    'use_confidence': None,
    'color': str,
    'stride': None,
    'max_range': None,
    'keep_labels': None,
    'use_sim_time': None,
}
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
                description='Where mask, confidence and labels are, and the clouds will be. '
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
                description='Camera images, sensor_msgs/Image; needed with color:=image only.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=DEFAULT_PARAMS_FILE,
                description='YAML file with the parameters of the node.',
            ),
            DeclareLaunchArgument(
                'max_time_difference_ms',
                default_value='',
                description='Largest difference between the stamps of a depth image and its '
                'mask. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'use_confidence',
                default_value='',
                choices=['', 'true', 'false'],
                description='Wait for the confidence of each mask. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'color',
                default_value='',
                choices=['', 'class', 'image'],
                description='What rgb shows: the colour of the class or the camera image. '
                'Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'stride',
                default_value='',
                description='Take every so many rows and columns only. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'max_range',
                default_value='',
                description='Farther depths, in m, are invalid; 0: none are. Empty: as in '
                'params_file.',
            ),
            DeclareLaunchArgument(
                'keep_labels',
                default_value='',
                description="Classes that points/filtered keeps, as in ['car', 'person']. "
                'Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='',
                choices=['', 'true', 'false'],
                description='Follow /clock, as for a replayed bag. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'log_level',
                default_value='info',
                choices=['debug', 'info', 'warn', 'error', 'fatal'],
                description='Least severity that is logged.',
            ),
            OpaqueFunction(function=start_node),
        ]
    )


def start_node(context: LaunchContext) -> list[Node]:
    """Start the node with the overrides that were given."""
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=value_type)
        for name, value_type in OVERRIDES.items()
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
