"""One camera of the node: where its images come from and where its masks go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import time
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dcfm_ros.ros import messages
from dcfm_ros.ros.camera_info_relay import CameraInfoRelay
from dcfm_ros.ros.frame_processor import Frame, FrameProcessor
from dcfm_ros.ros.frame_slot import FrameSlot
from dcfm_ros.ros.health.deadline import ProcessingDeadline
from dcfm_ros.ros.health.sequence_gaps import SequenceGaps
from dcfm_ros.ros.health.status import Level, Status, image_status, mask_status
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.matched_subscription import MatchedSubscription
from dcfm_ros.ros.parameters.segmentation import NodeParameters
from dcfm_ros.ros.qos_overrides import overriding_options

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
        self._images: MatchedSubscription | None = None
        self._camera_infos: MatchedSubscription | None = None
        self._camera_info: CameraInfoRelay | None = None
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
        if self._values().publish_camera_info:
            self._camera_info = CameraInfoRelay(
                lambda text: node.get_logger().warning(self._prefix + text)
            )
        for name, (topic, kind, depth) in messages.OUTPUTS.items():
            if name == 'camera_info' and self._camera_info is None:
                continue
            topic, overrides = self._topic(topic), None
            if name == 'mask':
                overrides = overriding_options(node, self._resolved(topic), 'publisher')
            self._outputs[name] = node.create_publisher(
                kind, topic, depth, qos_overriding_options=overrides
            )
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
            camera_info=self._camera_info,
        )

    def withdraw(self) -> None:
        """Let go of engine and publishers; in any state, also twice."""
        for publisher in self._outputs.values():
            self._node.destroy_publisher(publisher)
        self._outputs = {}
        self._processor = self._camera_info = None

    def listen(self, slot: FrameSlot[Frame]) -> None:
        """Subscribe; images go to the slot from now on."""
        self.slot = slot
        self._statistics.restart(time.monotonic())
        self._deadline.restart()
        self._images = MatchedSubscription(
            self._node,
            CompressedImage if self._is_compressed else Image,
            self._image_name,
            self._on_image,
            on_subscribe=lambda known: self._gaps.listen(time.monotonic(), known),
            on_matched=self._on_matched,
        )
        if self._camera_info is not None:
            self._camera_infos = MatchedSubscription(
                self._node,
                CameraInfo,
                self._topic('camera_info'),
                self._camera_info.receive,
                takes_latched=True,
            )

    def stop(self) -> None:
        """Let go of the subscriptions; in any state, also twice."""
        self.slot = None
        for subscription in (self._images, self._camera_infos):
            if subscription is not None:
                subscription.destroy()
        self._images = self._camera_infos = None

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
        """Ask for what the publishers offer now."""
        for subscription in (self._images, self._camera_infos):
            if subscription is not None:
                subscription.match()

    def statuses(self, clock_running_s: float) -> list[Status]:
        """What the diagnostics say of its images and masks; see `image_status`."""
        values = self._values()
        snapshot = self._statistics.snapshot(time.monotonic())
        mask = self._outputs.get('mask')
        images = image_status(
            snapshot,
            is_waiting=self.slot is not None,
            clock_running_s=clock_running_s,
            no_image_warning_s=values.no_image_warning_s,
            topic=self.image_topic,
            publishers=self._images.publishers if self._images else 0,
            reliability=self._images.reliability if self._images else '',
        )
        if self._camera_info is not None:
            images = _with_camera_info(images, self._camera_info.problem)
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

    @property
    def image_topic(self) -> str:
        """Fully qualified, remapped."""
        return self._resolved(self._image_name)

    @property
    def overridable(self) -> list[tuple[str, str]]:
        """Topics whose quality of service can be overridden, and 'subscription' or 'publisher'."""
        topics = [(self._image_name, 'subscription'), (self._topic('mask'), 'publisher')]
        if self._values().publish_camera_info:
            topics.append((self._topic('camera_info'), 'subscription'))
        return [(self._resolved(topic), entity) for topic, entity in topics]

    @property
    def _image_name(self) -> str:
        """What is subscribed to, not remapped yet; of compressed images, if those are taken."""
        name = self._topic('image')
        if self._is_compressed and not self._resolved(name).endswith('/compressed'):
            return self._topic('image/compressed')
        return name

    @property
    def _is_compressed(self) -> bool:
        return self._values().image_transport == 'compressed'

    def _on_matched(self, event: Any) -> None:
        self._gaps.connect(time.monotonic(), event.current_count, event.current_count_change)

    def _on_image(self, message: Image | CompressedImage, info: dict[str, Any]) -> None:
        """Only swap the slot; what the worker cannot keep up with is counted, never queued."""
        now = time.monotonic()
        is_alone = self._images is not None and self._images.publishers == 1
        number = info['publication_sequence_number'] if is_alone else None
        self._statistics.dropped('lost', self._gaps.lost_before(number))
        self._statistics.received(now)
        if self.slot is None:
            self._statistics.dropped('disabled')
        elif self.slot.put(self.name, Frame(message, now)) is not None:
            self._statistics.dropped('replaced')

    def _topic(self, name: str) -> str:
        """With the camera's name: 'mask' -> 'front/mask', '~/timing' -> '~/front/timing'.

        Not remapped yet, since rclpy does that; but 'mask/compressed' goes where 'mask' goes.
        """
        base, _, rest = name.partition('/')
        if base == '~':
            return f'~/{self.name}/{rest}' if self.name else name
        base = f'{self.name}/{base}' if self.name else base
        return f'{self._resolved(base)}/{rest}' if rest else base

    def _resolved(self, name: str) -> str:
        return self._node.resolve_topic_name(name)

    def _task(self, name: str) -> str:
        return f'{self.name} {name}' if self.name else name

    @property
    def _prefix(self) -> str:
        return f'{self.name}: ' if self.name else ''


def _with_camera_info(images: Status, problem: str) -> Status:
    """Say of the images what is wrong with their calibration, if they have no worse fault."""
    values = images.values | {'camera_info': problem or 'ok'}
    if problem and images.level == Level.OK:
        return replace(images, level=Level.WARN, message=problem, values=values)
    return replace(images, values=values)
