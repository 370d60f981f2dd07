"""One camera of the node: where its images come from and who processes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import time
from typing import TYPE_CHECKING, Any

from rclpy.logging import get_logger
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dcfm_ros.masks.groups import ClassGroups, read_groups
from dcfm_ros.masks.overlay import RGB
from dcfm_ros.masks.palette import read_palette
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
from dcfm_ros.ros.camera_info_relay import CameraInfoRelay
from dcfm_ros.ros.camera_topics import CameraTopics
from dcfm_ros.ros.frame_processor import FrameProcessor
from dcfm_ros.ros.frame_slot import Frame, FrameSlot
from dcfm_ros.ros.health.deadline import ProcessingDeadline
from dcfm_ros.ros.health.status import Status, image_status, mask_status
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.mask_outputs import MaskOutputs
from dcfm_ros.ros.matched_subscription import MatchedSubscription
from dcfm_ros.ros.parameters.segmentation import NodeParameters

if TYPE_CHECKING:
    from dcfm_ros.engine import SegmentationEngine


class Camera:
    """Subscriptions, publishers, counters and processor of one camera.

    Called by the executor's thread, except `process`; the two share statistics and slot. Its name
    is put in front of each topic; '' for the only camera of a node.
    """

    def __init__(self, node: Node, name: str, values: Callable[[], NodeParameters]) -> None:
        self.name = name
        self.slot: FrameSlot[Frame] | None = None
        """Where images go; None: they are counted as disabled."""
        self._node = node
        self._values = values
        self._topics = CameraTopics(node, name)
        self._publishers: dict[str, Any] = {}
        self._processor: FrameProcessor | None = None
        self._images: MatchedSubscription | None = None
        self._camera_infos: MatchedSubscription | None = None
        self._camera_info: CameraInfoRelay | None = None
        self._statistics = StreamStatistics()
        self._deadline = ProcessingDeadline()

    def advertise(
        self, engine: SegmentationEngine, palette: Sequence[RGB], groups: ClassGroups | None
    ) -> None:
        """Take an engine of its own, create the publishers and latch the labels."""
        node, topics, net = self._node, self._topics, engine.net
        logger, prefix = get_logger(node.get_logger().name), topics.log_prefix
        if self._values().publish_camera_info:
            self._camera_info = CameraInfoRelay(lambda text: logger.warning(prefix + text))
        self._publishers = topics.advertise(
            net.class_names, palette, groups, with_camera_info=self._camera_info is not None
        )
        outputs = MaskOutputs(
            self._publishers,
            palette,
            node_name=node.get_fully_qualified_name(),
            task=topics.task('frame'),
            groups=groups,
            camera_info=self._camera_info,
        )
        self._processor = FrameProcessor(
            engine,
            outputs,
            self._statistics,
            values=self._values,
            logger=logger,
            log_prefix=prefix,
            clock_ns=lambda: node.get_clock().now().nanoseconds,
        )

    def withdraw(self) -> None:
        """Let go of engine and publishers; in any state, also twice."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}
        self._processor = self._camera_info = None

    def listen(self, slot: FrameSlot[Frame]) -> None:
        """Subscribe; images go to the slot from now on."""
        self.slot = slot
        self._statistics.restart(time.monotonic())
        self._deadline.restart()
        transport = self._values().image_transport
        self._images = MatchedSubscription(
            self._node,
            CompressedImage if transport == 'compressed' else Image,
            self._topics.image(transport),
            self._on_image,
            counts_lost=True,
        )
        if self._camera_info is not None:
            self._camera_infos = MatchedSubscription(
                self._node,
                CameraInfo,
                self._topics.name('camera_info'),
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
        """Answer a frame, in the worker's thread."""
        assert self._processor is not None
        self._deadline.begin(time.monotonic())
        self._processor.process(frame)
        self._deadline.end(time.monotonic(), self._values().max_allowed_processing_time_ms)

    def request_reset(self) -> None:
        """Make the next frame a keyframe."""
        if self._processor is not None:
            self._processor.request_reset()

    def count_disabled(self) -> None:
        """Count a frame that was waiting when the node was paused or stopped."""
        self._statistics.dropped('disabled')

    def statuses(self, clock_running_s: float, failure: str) -> list[Status]:
        """Diagnostics of its images and masks; `failure` as in `image_status`."""
        values, images = self._values(), self._images
        snapshot = self._statistics.snapshot(time.monotonic())
        image = image_status(
            snapshot,
            is_waiting=self.slot is not None,
            clock_running_s=clock_running_s,
            no_image_warning_s=values.no_image_warning_s,
            topic=self._node.resolve_topic_name(self._topics.image(values.image_transport)),
            publishers=images.publishers if images else 0,
            reliability=images.reliability if images else '',
            camera_info_problem=self._camera_info.problem if self._camera_info else None,
            failure=failure,
            wrong_types=images.wrong_types if images else '',
        )
        masks = self._publishers.get('mask')
        mask = mask_status(snapshot, masks.get_subscription_count() if masks else 0, image)
        return [self._named(status) for status in (image, mask)]

    def deadline_status(self) -> Status:
        """Whether the frames since the last call were processed in time."""
        values = self._values()
        status = self._deadline.check(
            time.monotonic(),
            values.max_allowed_processing_time_ms,
            values.max_acceptable_consecutive_delay_ms,
        )
        return self._named(status)

    @property
    def overridable(self) -> list[tuple[str, str]]:
        """Topics whose quality of service can be overridden, and 'subscription' or 'publisher'."""
        values, topics = self._values(), self._topics
        names = [(topics.image(values.image_transport), 'subscription')]
        names += [(topics.name('mask'), 'publisher')]
        if values.publish_camera_info:
            names.append((topics.name('camera_info'), 'subscription'))
        return [(self._node.resolve_topic_name(name), entity) for name, entity in names]

    def _named(self, status: Status) -> Status:
        return replace(status, task=self._topics.task(status.task))

    def _on_image(self, message: Image | CompressedImage, num_lost: int) -> None:
        """Only swap the slot: what the worker cannot keep up with is counted, never queued."""
        now = time.monotonic()
        self._statistics.dropped('lost', num_lost)
        self._statistics.received(now)
        if self.slot is None:
            self._statistics.dropped('disabled')
        elif self.slot.put(self.name, Frame(message, now)) is not None:
            self._statistics.dropped('replaced')


def palette_and_groups(values: NodeParameters) -> tuple[Sequence[RGB], ClassGroups | None]:
    """Colours of the classes of the checkpoint, and their groups if there are any.

    Raises:
        FileNotFoundError: If the checkpoint, or the file of groups or colours, is absent.
        CheckpointError: If the checkpoint cannot be used.
        ValueError: If one of the other files is wrong.
    """
    config = read_metadata(find_checkpoint(values.checkpoint)).config
    names, palette = config.class_names, config.palette
    if values.palette_file:
        palette = read_palette(values.palette_file, names, palette)
    return palette, read_groups(values.groups_file, names, palette) if values.groups_file else None
