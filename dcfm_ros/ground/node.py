"""The ROS 2 node that turns masks into occupancy grids of the ground.

docs/ground_grid.md is its manual. It needs no PyTorch and no depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
import math
import sys
import time
from typing import Any

from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Float64, String

from dcfm_ros.ground.camera_pose import CameraPose
from dcfm_ros.ground.places import MAX_REORDERING_NS, Places
from dcfm_ros.ground.processor import GroundJob, GroundProcessor
from dcfm_ros.ground.same_stamp import SameStamp
from dcfm_ros.ground.votes import Place
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.ros.camera_topics import LATCHED
from dcfm_ros.ros.diagnostics import Diagnostics
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.frame_worker import FrameWorker
from dcfm_ros.ros.health.status import Level, Status, image_status
from dcfm_ros.ros.health.stream_statistics import StreamSnapshot, StreamStatistics
from dcfm_ros.ros.matched_subscription import MatchedSubscription
from dcfm_ros.ros.messages import stamp_to_ns
from dcfm_ros.ros.parameter_declaration import DeclaredParameters
from dcfm_ros.ros.parameters.ground import GroundParameters
from dcfm_ros.ros.qos_overrides import unused_overrides
from dcfm_ros.ros.run_node import give_up, run_node

NAME = 'ground_grid_node'
DROP_CAUSES = (
    'lost', 'no_camera_info', 'no_labels', 'unheard', 'no_confidence', 'replaced', 'refused',
)  # fmt: skip
"""Why a mask has no grid: it never arrived, there was no camera_info or labels yet, the grid has
no subscribers, no confidence of its stamp came, a newer one replaced it, it was invalid, did not
fit camera_info or confidence, had no pose."""
_CAPACITY = 10
"""Masks, or confidences, that may wait for their partners."""
# Latched, since Nav2's static layer asks for it by default.
OUTPUTS: dict[str, tuple[str, Any, Any]] = {
    'ground_grid': ('ground_grid', OccupancyGrid, LATCHED),
    'processing_time_ms': ('~/debug/processing_time_ms', Float64, 10),
}
"""Topic, message type and quality of service of what is published."""


class GroundGridNode(Node):
    """Hands masks to a worker, which makes the grids."""

    def __init__(self) -> None:
        super().__init__(
            NAME, namespace='segmentation', automatically_declare_parameters_from_overrides=True
        )
        self.exit_code = 0
        self._declared = DeclaredParameters(self, GroundParameters)
        self._statistics = StreamStatistics(causes=DROP_CAUSES)
        self._statistics.restart(time.monotonic())
        self._info: CameraInfo | None = None
        self._labels = ClassLabels()
        self._labels_problem = ''
        self._places = Places()
        self._mask_stamp_ns = 0
        values = self._declared.values
        self._outputs = {
            name: self.create_publisher(kind, topic, qos)
            for name, (topic, kind, qos) in OUTPUTS.items()
        }
        poses = CameraPose(self, values)
        self._mask = MatchedSubscription(
            self, Image, 'mask', self._on_mask, counts_lost=True, depth=5
        )
        info = MatchedSubscription(
            self, CameraInfo, 'camera_info', self._on_camera_info, takes_latched=True
        )
        self.create_subscription(String, 'labels', self._on_labels, LATCHED)
        subscriptions = [self._mask, info]
        if values.votes > 1:
            subscriptions.append(
                MatchedSubscription(self, Odometry, 'odom', self._on_odometry, depth=50)
            )
        self._pairs = SameStamp(_CAPACITY)
        self._has_confidence = False
        if values.min_confidence > 0:
            subscriptions.append(
                MatchedSubscription(self, Image, 'confidence', self._on_confidence, depth=5)
            )
        used = [(subscription.topic, 'subscription') for subscription in subscriptions]
        for warning in unused_overrides(self, used):
            self.get_logger().warning(warning)
        self._diagnostics = Diagnostics(self, self._statuses)
        processor = GroundProcessor(
            self._outputs,
            self._statistics,
            poses,
            values=lambda: self._declared.values,
            logger=self.get_logger(),
        )
        # Last: its thread would outlive a failure of anything after it.
        self._worker = FrameWorker({'': processor.process}, partial(give_up, self))

    def close(self) -> None:
        """Finish the current grid."""
        self._worker.stop()

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_labels(self, message: String) -> None:
        try:
            self._labels = ClassLabels.from_json(message.data)
            self._labels_problem = ''
        except ValueError as error:
            # The former names are not those of the masks to come.
            self._labels = ClassLabels()
            self._labels_problem = str(error)
            self.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _on_odometry(self, message: Odometry) -> None:
        place, turn = message.pose.pose.position, message.pose.pose.orientation
        sine = 2 * (turn.w * turn.z + turn.x * turn.y)
        yaw = math.atan2(sine, 1 - 2 * (turn.y**2 + turn.z**2))
        self._places.add(stamp_to_ns(message.header.stamp), Place(place.x, place.y, yaw))

    def _on_mask(self, message: Image, num_lost: int) -> None:
        now_s = time.monotonic()
        self._statistics.dropped('lost', num_lost)
        self._statistics.received(now_s)
        stamp_ns = stamp_to_ns(message.header.stamp)
        if stamp_ns < self._mask_stamp_ns - MAX_REORDERING_NS:
            self._places.restart(stamp_ns)
        self._mask_stamp_ns = stamp_ns
        if self._info is None:
            self._statistics.dropped('no_camera_info')
        elif self._lacks_labels():
            self._statistics.dropped('no_labels')
        elif not self._outputs['ground_grid'].get_subscription_count():
            self._statistics.dropped('unheard')
        else:
            place = self._places.at(stamp_ns)
            job = GroundJob(Frame(message, now_s), self._info, self._labels, place)
            if self._declared.values.min_confidence > 0:
                self._join(self._pairs.add_first, stamp_ns, job)
            else:
                self._hand_on(job)

    def _on_confidence(self, message: Image) -> None:
        self._has_confidence = True
        self._join(self._pairs.add_second, stamp_to_ns(message.header.stamp), message)

    def _join(self, add: Callable[..., Any], stamp_ns: int, item: GroundJob | Image) -> None:
        """Add a mask or a confidence, count the masks it gives up and hand on a pair."""
        lone = self._pairs.lone_firsts
        pair = add(stamp_ns, item)
        self._statistics.dropped('no_confidence', self._pairs.lone_firsts - lone)
        if pair is not None:
            job, confidence = pair
            self._hand_on(job._replace(confidence=confidence))

    def _hand_on(self, job: GroundJob) -> None:
        """Give the worker a mask, with its confidence if it has to have one."""
        if self._worker.slot.put('', job) is not None:
            self._statistics.dropped('replaced')

    def _lacks_labels(self) -> bool:
        """Whether classes are given by names, and none are known yet."""
        values = self._declared.values
        entries = (*values.free_labels, *values.ignore_labels)
        return not self._labels.names and not all(map(str.isdigit, entries))

    def _statuses(self) -> list[Status]:
        snapshot = self._statistics.snapshot(time.monotonic())
        masks = image_status(
            snapshot,
            is_waiting=True,
            clock_running_s=self._diagnostics.clock_running_s(),
            no_image_warning_s=self._declared.values.no_image_warning_s,
            topic=self._mask.topic,
            publishers=self._mask.publishers,
            reliability=self._mask.reliability,
            wrong_types=self._mask.wrong_types,
        )
        return [replace(masks, task='masks'), self._grid_status(snapshot)]

    def _grid_status(self, snapshot: StreamSnapshot) -> Status:
        """Diagnostics of the output, by what its inputs lack."""
        values = self._declared.values
        subscribers = self._outputs['ground_grid'].get_subscription_count()
        lists = {'free_labels': values.free_labels, 'ignore_labels': values.ignore_labels}
        unknown = [
            f'`{name}` has no such class: {", ".join(texts)}'
            for name, entries in lists.items()
            if entries and (texts := self._labels.keep(entries)[1])
        ]
        level, message = Level.WARN, f'{snapshot.rate_out_hz:.1f} grids per second'
        if self._labels_problem:
            message = self._labels_problem
        elif snapshot.rate_in_hz and self._info is None:
            message = 'no grids: no camera_info has come'
        elif snapshot.rate_in_hz and self._lacks_labels():
            message = 'no grids: no labels have come'
        elif snapshot.rate_in_hz and values.min_confidence > 0 and not self._has_confidence:
            message = 'no grids: `min_confidence` is set, and no confidence has come'
        elif self._labels.names and unknown:
            message = '; '.join(unknown)
        elif values.votes > 1 and not self._places:
            message = 'masks do not vote: no odometry has come on odom'
        else:
            level = Level.OK
        figures = {**snapshot.output_values(), 'grids': str(snapshot.answered)}
        figures |= {'subscribers': str(subscribers), 'base_frame': values.base_frame}
        return Status(task='grids', level=level, message=message, values=figures)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is stopped; returns the exit code of the process."""
    return run_node(NAME, GroundGridNode, args)


if __name__ == '__main__':
    sys.exit(main())
