"""The ROS 2 node that encodes masks as Autoware's segmentation_pointcloud_fusion takes them.

docs/integrations.md shows its use. It needs no PyTorch.
"""

from __future__ import annotations

import array
from dataclasses import dataclass
import sys

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dcfm_ros.images.depth import image_to_ids
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.masks.run_length import AUTOWARE_CLASSES, autoware_ids, encode_runs
from dcfm_ros.option_spec import check_options, option
from dcfm_ros.ros.camera_topics import LATCHED
from dcfm_ros.ros.diagnostics import Diagnostics
from dcfm_ros.ros.health.status import Level, Status
from dcfm_ros.ros.matched_subscription import MatchedSubscription
from dcfm_ros.ros.parameter_declaration import DeclaredParameters
from dcfm_ros.ros.parameters.spec import START
from dcfm_ros.ros.qos_overrides import unused_overrides
from dcfm_ros.ros.run_node import run_node

NAME = 'run_length_node'
COUNTERS = (
    'masks_received', 'masks_encoded', 'masks_refused', 'masks_without_labels', 'masks_lost',
)  # fmt: skip
"""Masks that arrived, and what became of them; lost ones never did."""


@dataclass(frozen=True, kw_only=True)
class RunLengthParameters:
    """Values of all parameters; the defaults fit the packaged weights.

    Raises:
        ValueError: If a value is not allowed.
    """

    class_map: tuple[str, ...] = option(
        (
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
        'Class of Autoware for each class of the masks; those not named become unknown.',
        changeable=START,
        pattern=f'.+:({"|".join(AUTOWARE_CLASSES)})',
        pattern_text='name:class of Autoware',
    )

    def __post_init__(self) -> None:
        check_options(self)


class RunLengthNode(Node):
    """Republishes each mask with the ids of Autoware, as runs."""

    def __init__(self) -> None:
        super().__init__(
            NAME, namespace='segmentation', automatically_declare_parameters_from_overrides=True
        )
        self.exit_code = 0
        self._declared = DeclaredParameters(self, RunLengthParameters)
        self._ids: NDArray[np.uint8] | None = None
        self._labels_problem = 'no labels received'
        self._unused_entries: list[str] = []
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._last_error = ''
        self._is_newest_bad = self._was_bad = False  # the latter: since the last status
        self._encoded = self.create_publisher(Image, 'mask/rle', 5)
        self.create_subscription(String, 'labels', self._on_labels, LATCHED)
        self._masks = MatchedSubscription(
            self, Image, 'mask', self._on_mask, counts_lost=True, depth=5
        )
        for warning in unused_overrides(self, [(self._masks.topic, 'subscription')]):
            self.get_logger().warning(warning)
        self._diagnostics = Diagnostics(self, self._statuses)

    def close(self) -> None:
        """Nothing to finish."""

    def _on_labels(self, message: String) -> None:
        class_map = self._declared.values.class_map
        try:
            names = ClassLabels.from_json(message.data).names
        except ValueError as error:
            # The former ids are not those of the masks to come.
            self._ids, self._labels_problem = None, str(error)
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        self._ids = autoware_ids(names, class_map)
        known = set(names.values())
        self._unused_entries = [e for e in class_map if e.rpartition(':')[0] not in known]

    def _on_mask(self, message: Image, num_lost: int) -> None:
        self._counters['masks_lost'] += num_lost
        self._counters['masks_received'] += 1
        if self._ids is None:
            self._counters['masks_without_labels'] += 1
            return
        try:
            mask = image_to_ids(message, 'mask')
        except ValueError as error:
            self._counters['masks_refused'] += 1
            self._last_error = str(error)
            self._is_newest_bad = self._was_bad = True
            return
        self._is_newest_bad = False
        encoded = Image(header=message.header, encoding='mono8')
        # As in tensorrt_yolox: those of the mask, not of the bytes sent.
        encoded.height, encoded.width = mask.shape
        encoded.step = encoded.width
        encoded.data = array.array('B', encode_runs(self._ids[mask]))
        self._encoded.publish(encoded)
        self._counters['masks_encoded'] += 1

    def _statuses(self) -> list[Status]:
        level, message = Level.WARN, ''
        was_bad, self._was_bad = self._was_bad, self._is_newest_bad
        if was_bad:
            level, message = Level.ERROR, f'bad mask: {self._last_error}'
        elif self._masks.wrong_types:
            message = self._masks.wrong_types
        elif self._ids is None:
            message = self._labels_problem
        elif not self._counters['masks_received']:
            message = f'no masks received on {self._masks.topic}'
        elif self._unused_entries:
            entries = ', '.join(self._unused_entries)
            message = f'`class_map` has entries whose classes the masks do not have: {entries}'
        else:
            level, message = Level.OK, 'encoding masks'
        counters = self._counters | {'subscribers': self._encoded.get_subscription_count()}
        values = {key: str(value) for key, value in counters.items()}
        values |= {'last_error': self._last_error}
        return [Status(task='masks', level=level, message=message, values=values)]


def main(args: list[str] | None = None) -> int:
    """Run the node until it is stopped; returns the exit code of the process."""
    return run_node(NAME, RunLengthNode, args)


if __name__ == '__main__':
    sys.exit(main())
