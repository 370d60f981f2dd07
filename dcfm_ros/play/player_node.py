"""The node's peer on DDS: sends frames, collects the answers, accounts for every frame."""

from __future__ import annotations

import array
from collections.abc import Callable
from dataclasses import replace
import os
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from dcfm_ros.play.report import FrameRecord, PlayReport
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.health.status import NodeHealth
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp, stamp_to_ns

OnMask = Callable[[int, NDArray[np.uint8]], None]
_IDLE_S = 2.0
"""Diagnostics this much later than the last frame account for it, wherever it is."""
_TOPICS = {'raw': ('image', Image), 'compressed': ('image/compressed', CompressedImage)}


class PlayerNode(Node):
    """Publisher and subscriptions; the executor's thread fills the records of a play.

    Made by `connect`, which describes the arguments; `namespace` is fully qualified here.
    """

    def __init__(
        self,
        context: Context,
        namespace: str,
        reliability: str,
        image_transport: str,
        on_mask: OnMask | None,
    ) -> None:
        super().__init__('dcfm_player', context=context, use_global_arguments=False)
        self._namespace = namespace or '/'
        self._node_name = f'{namespace}/segmentation_node'
        self._reliability = reliability
        self._on_mask_user = on_mask
        self._changed = threading.Condition()
        self._records: list[FrameRecord] = []
        self._index: dict[tuple[int, str], int] = {}
        self._unexpected = 0
        self._health = NodeHealth()  # the node's last diagnostics
        self._health_s = 0.0
        self._before = self._health  # before the play
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 100)
        timing = f'{self._node_name}/timing'
        self.create_subscription(DiagnosticArray, timing, self._on_timing, 100)
        self._masks = self.create_subscription(Image, f'{namespace}/mask', self._on_mask, 100)
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability.upper()])
        topic, self._kind = _TOPICS[image_transport]
        # Until the node knows what is offered here, it requests more: not worth a warning.
        quiet = PublisherEventCallbacks(use_default_callbacks=False)
        self._images = self.create_publisher(
            self._kind, f'{namespace}/{topic}', qos, event_callbacks=quiet
        )

    @property
    def qos(self) -> dict[str, dict[str, str | int]]:
        """Quality of service of images (offered) and masks (requested)."""
        profiles = {'images': self._images.qos_profile, 'masks': self._masks.qos_profile}
        return {
            name: {'reliability': profile.reliability.name.lower(), 'depth': profile.depth}
            for name, profile in profiles.items()
        }

    @property
    def rmw(self) -> str:
        """Identifier of the middleware."""
        return get_rmw_implementation_identifier()

    def check_running(self, wait_s: float) -> None:
        """Wait until the node is discovered.

        Raises:
            ValueError: If it is not; the message says where segmentation nodes run.
        """
        end_s = time.monotonic() + wait_s
        running: set[str] = set()
        while time.monotonic() < end_s:
            nodes = self.get_node_names_and_namespaces()
            running = {space for name, space in nodes if name == 'segmentation_node'}
            if self._namespace in running:
                return
            time.sleep(0.1)
        raise ValueError(
            f'no segmentation node in namespace {self._namespace} (ROS_DOMAIN_ID '
            f'{os.environ.get("ROS_DOMAIN_ID", 0)}); namespaces with one: '
            f'{", ".join(sorted(running)) or "none"}'
        )

    def wait_until_ready(self, wait_s: float) -> None:
        """Wait until the node is active and both directions are matched at both ends.

        Raises:
            TimeoutError: If that takes longer, or the node reports that it has failed.
        """
        start_s = time.monotonic()
        with self._changed:
            while problem := self._not_ready():
                passed_s = time.monotonic() - start_s
                if passed_s >= wait_s or self._health.has_failed:
                    name = self._node_name
                    raise TimeoutError(f'waited {passed_s:.0f} s for {name}: {problem}')
                self._changed.wait(min(wait_s - passed_s, 0.1))

    def begin(self) -> None:
        """Forget the frames of the last play; the node is ready, and idle."""
        with self._changed:
            # Lost after the last frame that arrived: the next one will show the gap.
            unseen = self._never_arrived() - self._dropped()['lost']
            self._records, self._index, self._unexpected = [], {}, 0
            dropped = dict(self._health.dropped)
            dropped['lost'] += max(unseen, 0)
            self._before = replace(self._health, dropped=dropped)

    def send(self, image: NDArray[np.uint8] | bytes, stamp_ns: int, frame_id: str) -> None:
        """Publish a frame and remember it.

        Raises:
            ValueError: If it is not of the node's transport, or one of this play had its stamp.
        """
        if isinstance(image, bytes) != (self._kind is CompressedImage):
            kind = type(image).__name__
            raise ValueError(f'`image` must fit {self._kind.__name__} messages, got {kind}')
        header = Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)
        if isinstance(image, bytes):
            kind = 'png' if image.startswith(b'\x89PNG') else 'jpeg'
            data = array.array('B', image)
            message = CompressedImage(header=header, format=kind, data=data)
        else:
            message = array_to_image(image, 'rgb8', header)
        key = (stamp_ns, frame_id)
        with self._changed:
            if key in self._index:
                raise ValueError(f'`stamp_ns` must differ between frames, got {stamp_ns} twice')
            index = self._index[key] = len(self._records)
            record = FrameRecord(index, stamp_ns, frame_id, sent_s=time.monotonic())
            self._records.append(record)
        self._images.publish(message)

    def wait_until_settled(self, wait_s: float) -> None:
        """Wait until every frame is answered or dropped, or the node is idle, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled() or self._is_idle(), wait_s)

    def report(self) -> PlayReport:
        """The state so far."""
        with self._changed:
            return PlayReport(
                records=self._records,
                dropped_by_cause=self._dropped(),
                unexpected_masks=self._unexpected,
                health=self._health,
                never_arrived=self._never_arrived(),
            )

    def _not_ready(self) -> str:
        health, topic = self._health, self._images.topic_name
        if not health.state:
            return 'no diagnostics of a node of that name'
        if health.state != 'active':
            return f'it is {health.state}: {health.message}'
        # Of all publishers: a former one may still count where this one does not yet.
        is_connected = health.publishers == self.count_publishers(topic)
        if self._images.get_subscription_count() == 0 or not is_connected:
            return f'it is not connected to {topic}'
        if health.publishers == 1 and health.reliability != self._reliability:
            return f'its subscription to {topic} is still {health.reliability}'
        if not health.mask_subscribers:
            return 'its mask is not connected'
        return ''

    def _is_settled(self) -> bool:
        waiting = sum(not (record.answered and record.timing) for record in self._records)
        return waiting <= sum(self._dropped().values())

    def _is_idle(self) -> bool:
        """Whether the node is done with all it received, so that what is missing will not come."""
        if self._health_s < self._records[-1].sent_s + _IDLE_S:
            return False
        done, dropped = self._health.frames_answered, self._health.dropped
        return done + sum(dropped.values()) - dropped['lost'] == self._health.frames_received

    def _never_arrived(self) -> int:
        lost = self._dropped()['lost']
        if not self._records or self._is_settled():
            return lost
        # Not settled and over: the diagnostics are newer than all that arrived.
        arrived = self._health.frames_received - self._before.frames_received
        return max(lost, len(self._records) - arrived)

    def _dropped(self) -> dict[str, int]:
        total, before = self._health.dropped, self._before.dropped
        return {cause: max(total[cause] - before[cause], 0) for cause in total}

    def _find(self, header: Header) -> FrameRecord | None:
        index = self._index.get((stamp_to_ns(header.stamp), header.frame_id))
        return None if index is None else self._records[index]

    def _on_mask(self, message: Image) -> None:
        now_s = time.monotonic()
        with self._changed:
            record = self._find(message.header)
            if record is None or record.answered:
                self._unexpected += 1
                return
            mask = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
            if self._on_mask_user is None:
                record.mask = mask
            record.received_s = now_s
            self._changed.notify_all()
        if self._on_mask_user is not None:
            self._on_mask_user(record.index, mask)

    def _on_timing(self, message: DiagnosticArray) -> None:
        with self._changed:
            if (record := self._find(message.header)) is not None:
                record.timing = FrameTiming.from_values(_values_of(message.status[0]))
                self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f'{self._node_name}: '
        own = {s.name.removeprefix(prefix): s for s in message.status if s.name.startswith(prefix)}
        if 'model' not in own:
            return
        values = {task: _values_of(status) for task, status in own.items()}
        with self._changed:
            self._health = NodeHealth.from_values(values, own['model'].message)
            self._health_s = time.monotonic()
            self._changed.notify_all()


def _values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}
