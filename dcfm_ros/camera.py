"""One camera of the node: where its images come from and where its masks go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import time
from typing import TYPE_CHECKING, Any, cast

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros import messages
from dcfm_ros.deadline import ProcessingDeadline
from dcfm_ros.diagnostics import Status, image_status, mask_status
from dcfm_ros.frame_processor import Frame, FrameProcessor
from dcfm_ros.frame_slot import FrameSlot
from dcfm_ros.parameters import NodeParameters
from dcfm_ros.sequence_gaps import SequenceGaps
from dcfm_ros.stream_statistics import StreamStatistics

if TYPE_CHECKING:
    from dcfm_ros.engine import SegmentationEngine

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Camera:
    """Subscription, publishers, counters and processor of one camera.

    All but `process` is called by the executor's thread; they share statistics and slot.
    """

    def __init__(self, node: Node, name: str, values: Callable[[], NodeParameters]) -> None:
        """Begin to count; nothing is advertised yet.

        Args:
            node: Whose the topics are.
            name: Goes in front of each topic; '' for the only camera of a node.
            values: Gives the node's parameters of now.
        """
        self.name = name
        self.slot: FrameSlot[Frame] | None = None
        """Where images go; None: they are counted as disabled."""
        self._node = node
        self._values = values
        self._outputs: dict[str, Any] = {}
        self._processor: FrameProcessor | None = None
        self._subscription: Any = None
        self._gaps = SequenceGaps()
        self._statistics = StreamStatistics()
        self._deadline = ProcessingDeadline()

    def advertise(
        self, engine: SegmentationEngine, adjust: Callable[[NodeParameters], None]
    ) -> None:
        """Take an engine of its own, make the publishers and latch the labels.

        Args:
            engine: Used by nobody else.
            adjust: Gives the engine new values of the parameters, in the worker's thread.
        """
        node = self._node
        for name, (topic, kind, depth) in messages.OUTPUTS.items():
            self._outputs[name] = node.create_publisher(kind, self._topic(topic), depth)
        header = Header(stamp=node.get_clock().now().to_msg())
        names, palette = engine.net.class_names, engine.net.palette
        for topic, message in messages.label_messages(names, palette, header).items():
            publisher = node.create_publisher(type(message), self._topic(topic), _LATCHED)
            publisher.publish(message)
            self._outputs[topic] = publisher
        self._processor = FrameProcessor(
            engine,
            self._outputs,
            self._statistics,
            values=self._values,
            adjust=adjust,
            log_error=lambda text: node.get_logger().error(self._prefix + text),
            clock_ns=lambda: node.get_clock().now().nanoseconds,
            node_name=node.get_fully_qualified_name(),
            task=self._task('frame'),
        )

    def withdraw(self) -> None:
        """Let go of engine and publishers; in any state, also twice."""
        for publisher in self._outputs.values():
            self._node.destroy_publisher(publisher)
        self._outputs = {}
        self._processor = None

    def listen(self, slot: FrameSlot[Frame]) -> None:
        """Subscribe; images go to the slot from now on."""
        self.slot = slot
        self._statistics.restart(time.monotonic())
        self._deadline.restart()
        self._subscribe(ReliabilityPolicy.RELIABLE)
        self.match_publishers()

    def stop(self) -> None:
        """Let go of the subscription; in any state, also twice."""
        self.slot = None
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def process(self, frame: Frame) -> None:
        """Answer a frame, in the worker's thread; see `FrameProcessor.process`."""
        assert self._processor is not None
        self._deadline.begin(time.monotonic())
        self._processor.process(frame)
        self._deadline.end(time.monotonic(), self._values().max_allowed_processing_time_ms)

    def request_reset(self) -> None:
        """Make the next frame a keyframe."""
        if self._processor is not None:
            self._processor.request_reset()

    def count_disabled(self) -> None:
        """Count a frame that waited when the node was paused or stopped."""
        self._statistics.dropped('disabled')

    def match_publishers(self) -> None:
        """Ask for best effort only where a publisher offers no more: it loses large images."""
        if self._subscription is None:
            return
        publishers = self._node.get_publishers_info_by_topic(self._topic('image'))
        offered = [publisher.qos_profile.reliability for publisher in publishers]
        wanted = ReliabilityPolicy.RELIABLE
        if ReliabilityPolicy.BEST_EFFORT in offered:
            wanted = ReliabilityPolicy.BEST_EFFORT
        if offered and self._subscription.qos_profile.reliability != wanted:
            self._node.get_logger().info(
                f'{self._prefix}subscribing {wanted.name}, as the publishers offer'
            )
            self._subscribe(wanted)

    def statuses(self, clock_running_s: float) -> list[Status]:
        """What the diagnostics say of its images and masks; see `image_status`."""
        values = self._values()
        snapshot = self._statistics.snapshot(time.monotonic())
        subscription, mask = self._subscription, self._outputs.get('mask')
        images = image_status(
            snapshot,
            is_waiting=self.slot is not None,
            clock_running_s=clock_running_s,
            no_image_warning_s=values.no_image_warning_s,
            topic=self._node.resolve_topic_name(self._topic('image')),
            publishers=subscription.get_publisher_count() if subscription else 0,
            reliability=subscription.qos_profile.reliability.name.lower() if subscription else '',
        )
        subscribers = mask.get_subscription_count() if mask else 0
        masks = mask_status(snapshot, values.deadline_ms, subscribers)
        return [replace(status, task=self._task(status.task)) for status in (images, masks)]

    def deadline_status(self) -> Status:
        """Whether its frames since the last call were worked on in time."""
        values = self._values()
        status = self._deadline.check(
            time.monotonic(),
            values.max_allowed_processing_time_ms,
            values.max_acceptable_consecutive_delay_ms,
        )
        return replace(status, task=self._task(status.task))

    def _subscribe(self, reliability: ReliabilityPolicy) -> None:
        topic = self._topic('image')
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._gaps.listen(time.monotonic(), self._node.count_publishers(topic))
        self._subscription = self._node.create_subscription(
            Image,
            topic,
            cast(Any, self._on_image),  # rclpy's hints know no message info
            QoSProfile(depth=1, reliability=reliability),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible_qos,
                matched=self._on_matched,
            ),
        )

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        topic = self._subscription.topic_name
        self._node.get_logger().warning(
            f'a publisher of {topic} offers less than asked for: {policy}'
        )
        if event.last_policy_kind == QoSPolicyKind.RELIABILITY:
            self._subscribe(ReliabilityPolicy.BEST_EFFORT)

    def _on_matched(self, event: Any) -> None:
        self._gaps.connect(time.monotonic(), event.current_count, event.current_count_change)

    def _on_image(self, message: Image, info: dict[str, Any]) -> None:
        """Only swap the slot; what the worker cannot keep up with is counted, never queued."""
        now = time.monotonic()
        is_alone = self._subscription.get_publisher_count() == 1
        number = info['publication_sequence_number'] if is_alone else None
        self._statistics.dropped('lost', self._gaps.lost_before(number))
        self._statistics.received(now)
        if self.slot is None:
            self._statistics.dropped('disabled')
        elif self.slot.put(self.name, Frame(message, now)) is not None:
            self._statistics.dropped('replaced')

    def _topic(self, name: str) -> str:
        """With the camera's name: 'mask' -> 'front/mask', '~/timing' -> '~/front/timing'."""
        if not self.name:
            return name
        return f'~/{self.name}/{name[2:]}' if name.startswith('~/') else f'{self.name}/{name}'

    def _task(self, name: str) -> str:
        return f'{self.name} {name}' if self.name else name

    @property
    def _prefix(self) -> str:
        return f'{self.name}: ' if self.name else ''
