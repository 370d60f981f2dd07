"""The ROS 2 node that encodes masks as Autoware's segmentation_pointcloud_fusion takes them.

docs/integrations.md tells how to use it. It needs no PyTorch.
"""

from __future__ import annotations

import array
from dataclasses import dataclass, field
import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from dcfm_ros.images.depth import image_to_ids
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.masks.run_length import AUTOWARE_CLASSES, autoware_ids, encode_runs
from dcfm_ros.ros.health.status import Level, Status
from dcfm_ros.ros.matched_subscription import MatchedSubscription
from dcfm_ros.ros.messages import statuses_to_diagnostics
from dcfm_ros.ros.parameter_declaration import declare_parameters, read_parameters
from dcfm_ros.ros.parameters.segmentation import START, ParameterSpec
from dcfm_ros.ros.qos_overrides import unused_overrides
from dcfm_ros.ros.run_node import run_node

NAME = 'run_length_node'
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_CLASS_MAP = ParameterSpec(
    description='Class of Autoware for each class of the masks; those not named become unknown.',
    pattern=f'.+:({"|".join(AUTOWARE_CLASSES)})',
    pattern_text='name:class of Autoware',
    changeable=START,
)


@dataclass(frozen=True, kw_only=True)
class RunLengthParameters:
    """Values of all parameters; the defaults fit the packaged weights."""

    class_map: tuple[str, ...] = field(
        default=(
            'sky:sky',
            'building:building',
            'pole:obstacle',
            'road:road',
            'pavement:sidewalk',
            'tree:vegetation',
            'sign:traffic_sign',
            'fence:wall',
            'car:vehicle',
            'pedestrian:person',
            'bicyclist:bike',
        ),
        metadata={'spec': _CLASS_MAP},
    )


class RunLengthNode(Node):
    """Publishes each mask again, with other ids and as runs."""

    def __init__(self) -> None:
        super().__init__(
            NAME, namespace='segmentation', automatically_declare_parameters_from_overrides=True
        )
        for warning in declare_parameters(self, RunLengthParameters):
            self.get_logger().warning(warning)
        self._class_map = read_parameters(self, RunLengthParameters).class_map
        self.exit_code = 0
        self._ids: NDArray[np.uint8] | None = None
        self._counters = {'masks_received': 0, 'masks_refused': 0, 'masks_without_labels': 0}
        self._last_error = ''
        self._encoded = self.create_publisher(Image, 'mask/rle', 5)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_subscription(String, 'labels', self._on_labels, _LATCHED)
        self._masks = MatchedSubscription(self, Image, 'mask', self._on_mask)
        for warning in unused_overrides(self, [(self._masks.topic, 'subscription')]):
            self.get_logger().warning(warning)
        self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Nothing is under way."""

    def _on_labels(self, message: String) -> None:
        try:
            names = ClassLabels.from_json(message.data).names
            self._ids = autoware_ids(names, self._class_map)
        except ValueError as error:
            self.get_logger().error(str(error))

    def _on_mask(self, message: Image) -> None:
        self._counters['masks_received'] += 1
        if self._ids is None:
            self._counters['masks_without_labels'] += 1
            return
        try:
            mask = image_to_ids(message, 'mask')
        except ValueError as error:
            self._counters['masks_refused'] += 1
            self._last_error = str(error)
            return
        encoded = Image(header=message.header, encoding='mono8')
        # As tensorrt_yolox fills them: of the mask, not of the bytes that are sent.
        encoded.height, encoded.width = mask.shape
        encoded.step = encoded.width
        encoded.data = array.array('B', encode_runs(self._ids[mask]))
        self._encoded.publish(encoded)

    def _on_timer(self) -> None:
        self._masks.match()
        level, message = Level.OK, 'encoding masks'
        if self._counters['masks_refused']:
            level, message = Level.ERROR, f'bad mask: {self._last_error}'
        elif self._ids is None:
            level, message = Level.WARN, 'no labels have come yet'
        values: dict[str, Any] = self._counters | {'subscribers': self._subscribers()}
        values = {key: str(value) for key, value in values.items()}
        status = Status(task='masks', level=level, message=message, values=values)
        header, name = (
            Header(stamp=self.get_clock().now().to_msg()),
            self.get_fully_qualified_name(),
        )
        self._diagnostics.publish(statuses_to_diagnostics([status], header, name))

    def _subscribers(self) -> int:
        return int(self._encoded.get_subscription_count())


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code of the process."""
    return run_node(NAME, RunLengthNode, args)


if __name__ == '__main__':
    sys.exit(main())
