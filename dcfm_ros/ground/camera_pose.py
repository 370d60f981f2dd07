"""`CameraPose`: where the camera is on the robot, by parameters or by TF."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.time import Time

from dcfm_ros.ground.geometry import Pose
from dcfm_ros.ros.parameters.ground import GroundParameters

try:
    import tf2_ros
except ImportError:  # released with ROS, but not as a wheel
    tf2_ros = None


class CameraPose:
    """Finds the pose of cameras in the base frame.

    Raises:
        ValueError: If parameters give no pose and tf2_ros is not installed.
    """

    def __init__(self, node: Node, values: GroundParameters) -> None:
        self._base = values.base_frame
        self._fixed: Pose | None = None
        if values.camera_height > 0:
            self._fixed = Pose.mounted(
                values.camera_x,
                values.camera_y,
                values.camera_height,
                values.camera_roll,
                values.camera_pitch,
                values.camera_yaw,
            )
            return
        if tf2_ros is None:
            raise ValueError(
                '`camera_height` must be above 0 where tf2_ros is not installed, got 0.0'
            )
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def find(self, frame: str) -> Pose:
        """The newest pose of an optical frame.

        Raises:
            ValueError: If TF does not know it.
        """
        if self._fixed is not None:
            return self._fixed
        try:
            found = self._buffer.lookup_transform(self._base, frame, Time())
        except tf2_ros.TransformException as error:
            raise ValueError(f'no transform from {frame!r} to {self._base!r}: {error}') from error
        return Pose.from_transform(found.transform)
