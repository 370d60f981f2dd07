"""The ROS 2 node that turns depth images and masks into labelled clouds.

Wiring only; docs/semantic_cloud.md is its manual. It needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import sys
import time
import traceback
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Float64, Header, String

from dcfm_ros.class_labels import ClassLabels
from dcfm_ros.cloud_diagnostics import DROP_CAUSES, CloudInputs, cloud_status
from dcfm_ros.cloud_matching import CloudMatcher, Match
from dcfm_ros.cloud_parameters import CloudParameters
from dcfm_ros.cloud_processor import CloudJob, CloudProcessor, DepthFrame
from dcfm_ros.diagnostics import Status, image_status
from dcfm_ros.frame_worker import FrameWorker
from dcfm_ros.matched_subscription import MatchedSubscription
from dcfm_ros.messages import stamp_to_ns, statuses_to_diagnostics
from dcfm_ros.parameter_declaration import declare_parameters, read_parameters
from dcfm_ros.parameter_rules import refusal
from dcfm_ros.run_node import run_node
from dcfm_ros.sequence_gaps import SequenceGaps
from dcfm_ros.stream_statistics import StreamStatistics

NAME = 'semantic_cloud_node'
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Clouds are large; of the images the next one must not overwrite one that is sent again.
_OUTPUTS: dict[str, tuple[str, Any, int]] = {
    'points': ('points', PointCloud2, 2),
    'points/filtered': ('points/filtered', PointCloud2, 2),
    'points/mask': ('points/mask', Image, 5),
    'points/confidence': ('points/confidence', Image, 5),
    'processing_time_ms': ('~/debug/processing_time_ms', Float64, 10),
}
"""Topic, message type and queue depth of what is published."""
_CLOUD_TOPICS = tuple(name for name in _OUTPUTS if name.startswith('points'))


class SemanticCloudNode(Node):
    """Matches depth images with masks in the executor's thread; a worker makes the clouds."""

    def __init__(self) -> None:
        super().__init__(
            NAME, namespace='segmentation', automatically_declare_parameters_from_overrides=True
        )
        for warning in declare_parameters(self, CloudParameters):
            self.get_logger().warning(warning)
        self._values = read_parameters(self, CloudParameters)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self.add_post_set_parameters_callback(self._on_parameters_set)
        self.exit_code = 0
        self._statistics = StreamStatistics(causes=DROP_CAUSES)
        self._statistics.restart(time.monotonic())
        self._matcher = CloudMatcher(
            use_confidence=self._values.use_confidence,
            use_image=self._values.color == 'image',
            max_difference_ns=self._max_difference_ns,
            capacity=self._values.queue_size,
        )
        self._gaps = SequenceGaps()
        self._info: CameraInfo | None = None
        self._labels = ClassLabels()
        self._frames = {'depth/image': '', 'mask': ''}
        self._heard_s: dict[str, float] = {}
        self._outputs = {
            name: self.create_publisher(kind, topic, depth)
            for name, (topic, kind, depth) in _OUTPUTS.items()
        }
        processor = CloudProcessor(
            self._outputs,
            self._statistics,
            values=lambda: self._values,
            log_error=lambda text: self.get_logger().error(text),
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Steady: with the node's own clock a paused simulation would silence the diagnostics.
        self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._inputs = self._subscribe()
        # Last, since nobody would stop its thread if something before it failed.
        self._worker = FrameWorker({'': processor.process}, self._on_worker_failure)

    def close(self) -> None:
        """Finish the cloud under way."""
        self._worker.stop()

    @property
    def _max_difference_ns(self) -> int:
        return round(self._values.max_time_difference_ms * 1e6)

    def _subscribe(self) -> dict[str, MatchedSubscription]:
        matcher = self._matcher
        images: dict[str, Callable[[int, Any], list[Match]]] = {'mask': matcher.add_mask}
        if self._values.use_confidence:
            images['confidence'] = matcher.add_confidence
        if self._values.color == 'image':
            images['image'] = matcher.add_image
        inputs = {
            name: MatchedSubscription(
                self, Image, self.resolve_topic_name(name), self._adder(name, add), depth=5
            )
            for name, add in images.items()
        }
        inputs['depth/image'] = MatchedSubscription(
            self,
            Image,
            self.resolve_topic_name('depth/image'),
            self._on_depth,
            on_subscribe=lambda known: self._gaps.listen(time.monotonic(), known),
            on_matched=self._on_depth_matched,
            depth=5,
        )
        inputs['depth/camera_info'] = MatchedSubscription(
            self,
            CameraInfo,
            self.resolve_topic_name('depth/camera_info'),
            self._on_camera_info,
            takes_latched=True,
        )
        self.create_subscription(String, 'labels', self._on_labels, _LATCHED)
        return inputs

    def _adder(
        self, topic: str, add: Callable[[int, Any], list[Match]]
    ) -> Callable[[Image], None]:
        def on_image(message: Image) -> None:
            self._heard_s[topic] = time.monotonic()
            if topic == 'mask':
                self._frames['mask'] = message.header.frame_id
            self._match(lambda: add(stamp_to_ns(message.header.stamp), message))

        return on_image

    def _on_depth_matched(self, event: Any) -> None:
        self._gaps.connect(time.monotonic(), event.current_count, event.current_count_change)

    def _on_depth(self, message: Image, info: dict[str, Any]) -> None:
        now_s = time.monotonic()
        is_alone = self._inputs['depth/image'].publishers == 1
        number = info['publication_sequence_number'] if is_alone else None
        self._statistics.dropped('lost', self._gaps.lost_before(number))
        self._statistics.received(now_s)
        self._frames['depth/image'] = message.header.frame_id
        frame = DepthFrame(message, now_s)
        self._match(lambda: self._matcher.add_depth(stamp_to_ns(message.header.stamp), frame))

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._heard_s['depth/camera_info'] = time.monotonic()
        self._info = message

    def _on_labels(self, message: String) -> None:
        try:
            self._labels = ClassLabels.from_json(message.data)
        except ValueError as error:
            self.get_logger().error(str(error))

    def _match(self, add: Callable[[], list[Match]]) -> None:
        """Add a message, count what will have no mask and hand on what is complete."""
        lone = self._matcher.lone['depth']
        matches = add()
        self._statistics.dropped('no_mask', self._matcher.lone['depth'] - lone)
        for match in matches:
            if self._info is None:
                self._statistics.dropped('no_camera_info')
            elif not any(self._subscribers().values()):
                self._statistics.dropped('unheard')
            elif self._worker.slot.put('', CloudJob(match, self._info, self._labels)) is not None:
                self._statistics.dropped('replaced')

    def _subscribers(self) -> dict[str, int]:
        return {name: self._outputs[name].get_subscription_count() for name in _CLOUD_TOPICS}

    def _on_worker_failure(self, error: Exception) -> None:
        if self.context.ok():  # otherwise it could not publish since the node is going down
            self.get_logger().fatal('cannot go on: ' + ''.join(traceback.format_exception(error)))
            self.exit_code = 1
            self.context.try_shutdown()

    def _on_set_parameters(self, changes: list[Any]) -> SetParametersResult:
        values = {change.name: change.value for change in changes}
        reason = refusal(values, self._values, 'running')
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_parameters_set(self, _: list[Any]) -> None:
        self._values = read_parameters(self, CloudParameters)
        self._matcher.max_difference_ns = self._max_difference_ns

    def _on_timer(self) -> None:
        for subscription in self._inputs.values():
            subscription.match()
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name()
        self._diagnostics.publish(statuses_to_diagnostics(self._statuses(), header, name))

    def _statuses(self) -> list[Status]:
        snapshot = self._statistics.snapshot(time.monotonic())
        depth = self._inputs['depth/image']
        images = image_status(
            snapshot,
            is_waiting=True,
            no_image_warning_s=self._values.no_image_warning_s,
            topic=depth.topic,
            publishers=depth.publishers,
            reliability=depth.reliability,
        )
        inputs = CloudInputs(
            silent=self._silent_topics(),
            depth_frame=self._frames['depth/image'],
            mask_frame=self._frames['mask'],
            unknown_labels=self._labels.keep(self._values.keep_labels)[1],
            lone=self._matcher.lone,
        )
        clouds = cloud_status(
            snapshot,
            inputs,
            max_time_difference_ms=self._values.max_time_difference_ms,
            subscribers=self._subscribers(),
        )
        return [replace(images, task='depth images'), clouds]

    def _silent_topics(self) -> list[str]:
        """Topics that are needed and from which nothing has come lately."""
        limit_s = time.monotonic() - (self._values.no_image_warning_s or float('inf'))
        others = {name: found.topic for name, found in self._inputs.items()}
        del others['depth/image']
        # One camera_info is enough for ever.
        since = {'depth/camera_info': float('-inf')}
        return [
            topic
            for name, topic in others.items()
            if name not in self._heard_s or self._heard_s[name] < since.get(name, limit_s)
        ]


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code of the process."""
    return run_node(NAME, SemanticCloudNode, args)


if __name__ == '__main__':
    sys.exit(main())
