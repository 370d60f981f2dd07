"""Start segmentation_node on a camera topic.

Every argument of `OVERRIDES` is a node parameter. Left empty, it stays as the parameter file says.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

# With None, YAML decides on the type, and the node itself says what is wrong with a wrong one.
OVERRIDES = {
    'checkpoint': str,
    'device': str,
    'keyframe_interval': None,
    'execution': str,
    'autostart': None,
    'use_sim_time': None,
}
DEFAULT_PARAMS_FILE = PathJoinSubstitution(
    [FindPackageShare('dcfm_ros'), 'config', 'segmentation.yaml']
)


def generate_launch_description() -> LaunchDescription:
    """Describe the arguments and the node they start."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'namespace',
                default_value='segmentation',
                description='Namespace of the node and of its topics, one per camera.',
            ),
            DeclareLaunchArgument(
                'image_topic',
                default_value='/camera/image_raw',
                description='Camera images, sensor_msgs/Image.',
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=DEFAULT_PARAMS_FILE,
                description='YAML file with the parameters of the node.',
            ),
            DeclareLaunchArgument(
                'checkpoint',
                default_value='',
                description='Weights file (safetensors), or default or accurate, which are '
                'packaged. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'device',
                default_value='',
                description='auto, cpu, cuda or cuda:<number>. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'keyframe_interval',
                default_value='',
                description='Frames from one keyframe to the next; 1 makes every frame one. '
                'Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'execution',
                default_value='',
                choices=['', 'sync', 'amortised', 'async'],
                description='When the deep encoder works: on the keyframe, a slice per frame, or '
                'in a thread of its own. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'autostart',
                default_value='',
                choices=['', 'true', 'false'],
                description='Configure and activate the node at start. Empty: as in params_file.',
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
            executable='segmentation_node',
            namespace=LaunchConfiguration('namespace'),
            name='segmentation_node',
            parameters=[LaunchConfiguration('params_file'), overrides],
            remappings=[('image', LaunchConfiguration('image_topic'))],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
        )
    ]
