"""The node's peer on DDS: sends frames, collects the answers, accounts for every frame."""

from __future__ import annotations

import array
from collections.abc import Callable
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

from dcfm_ros.images.png_chunks import SIGNATURE
from dcfm_ros.play.account import PlayAccount
from dcfm_ros.play.report import PlayReport
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.health.status import NodeHealth
from dcfm_ros.ros.messages import array_to_image, ns_to_stamp, stamp_to_ns

OnMask = Callable[[int, NDArray[np.uint8]], None]
Check = Callable[[], None]
_POLL_S = 0.1
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
        check: Check | None,
    ) -> None:
        super().__init__('dcfm_player', context=context, use_global_arguments=False)
        self._namespace = namespace or '/'
        self._node_name = f'{namespace}/segmentation_node'
        self._reliability = reliability
        self._on_mask_user = on_mask
        self._check = check or (lambda: None)
        self._changed = threading.Condition()
        self._account = PlayAccount()
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
            Exception: What `check` raises.
        """
        end_s = time.monotonic() + wait_s
        running: set[str] = set()
        while time.monotonic() < end_s:
            nodes = self.get_node_names_and_namespaces()
            running = {space for name, space in nodes if name == 'segmentation_node'}
            if self._namespace in running:
                return
            self._check()
            time.sleep(_POLL_S)
        raise ValueError(
            f'no segmentation node in namespace {self._namespace} (ROS_DOMAIN_ID '
            f'{os.environ.get("ROS_DOMAIN_ID", 0)}); namespaces with one: '
            f'{", ".join(sorted(running)) or "none"}'
        )

    def wait_until_ready(self, wait_s: float) -> None:
        """Wait until the node is active and both directions are matched at both ends.

        Raises:
            TimeoutError: If that takes longer, or the node reports that it has failed.
            Exception: What `check` raises.
        """
        start_s = time.monotonic()
        with self._changed:
            while problem := self._not_ready():
                passed_s = time.monotonic() - start_s
                if passed_s >= wait_s or self._account.health.has_failed:
                    name = self._node_name
                    raise TimeoutError(f'waited {passed_s:.0f} s for {name}: {problem}')
                self._check()
                self._changed.wait(min(wait_s - passed_s, _POLL_S))

    def begin(self) -> None:
        """Forget the frames of the last play; the node is ready, and idle."""
        with self._changed:
            self._account.begin()

    def send(self, image: NDArray[np.uint8] | bytes, stamp_ns: int, frame_id: str) -> None:
        """Publish a frame and remember it.

        Raises:
            ValueError: If it is not of the node's transport, or one of this play had its stamp.
            Exception: What `check` raises.
        """
        self._check()
        if isinstance(image, bytes) != (self._kind is CompressedImage):
            kind = type(image).__name__
            raise ValueError(f'`image` must fit {self._kind.__name__} messages, got {kind}')
        header = Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)
        if isinstance(image, bytes):
            kind = 'png' if image.startswith(SIGNATURE) else 'jpeg'
            data = array.array('B', image)
            message = CompressedImage(header=header, format=kind, data=data)
        else:
            message = array_to_image(image, 'rgb8', header)
        with self._changed:
            self._account.add(stamp_ns, frame_id, time.monotonic())
        self._images.publish(message)

    def wait_until_settled(self, wait_s: float) -> None:
        """Wait until every frame is answered or dropped, or the node is idle, or time is up.

        Raises:
            Exception: What `check` raises.
        """
        end_s = time.monotonic() + wait_s
        account = self._account
        with self._changed:
            while not (account.is_settled() or account.is_idle()):
                self._check()
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return
                self._changed.wait(min(left_s, _POLL_S))

    def report(self) -> PlayReport:
        """The state so far."""
        with self._changed:
            return self._account.report()

    def _not_ready(self) -> str:
        health, topic = self._account.health, self._images.topic_name
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

    def _on_mask(self, message: Image) -> None:
        now_s = time.monotonic()
        with self._changed:
            record = self._account.find(*_key_of(message.header))
            if record is None or record.answered:
                self._account.unexpected += 1
                return
        mask = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        if self._on_mask_user is not None:  # before the frame counts as answered
            self._on_mask_user(record.index, mask)
        with self._changed:
            if self._on_mask_user is None:
                record.mask = mask
            record.received_s = now_s
            self._changed.notify_all()

    def _on_timing(self, message: DiagnosticArray) -> None:
        with self._changed:
            record = self._account.find(*_key_of(message.header))
            if record is not None:
                record.timing = FrameTiming.from_values(_values_of(message.status[0]))
                self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = f'{self._node_name}: '
        own = {s.name.removeprefix(prefix): s for s in message.status if s.name.startswith(prefix)}
        if 'model' not in own:
            return
        values = {task: _values_of(status) for task, status in own.items()}
        with self._changed:
            health = NodeHealth.from_values(values, own['model'].message)
            self._account.update(health, time.monotonic())
            self._changed.notify_all()


def _values_of(status: DiagnosticStatus) -> dict[str, str]:
    return {entry.key: entry.value for entry in status.values}


def _key_of(header: Header) -> tuple[int, str]:
    return stamp_to_ns(header.stamp), header.frame_id
