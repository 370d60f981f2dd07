"""The topics of a camera: every one is named and advertised here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, Header

from dcfm_ros.masks.overlay import RGB
from dcfm_ros.ros.messages import label_messages
from dcfm_ros.ros.qos_overrides import overriding_options

IMAGE, COMPRESSED_IMAGE, CAMERA_INFO = 'image', 'image/compressed', 'camera_info'
"""What is subscribed to."""
OUTPUTS: Mapping[str, tuple[str, Any, int]] = {
    'mask': ('mask', Image, 5),
    'compressed_mask': ('mask/compressed', CompressedImage, 5),
    'camera_info': ('mask/camera_info', CameraInfo, 5),
    'confidence': ('confidence', Image, 1),
    'color_mask': ('color_mask', Image, 1),
    'overlay': ('overlay', Image, 1),
    'timing': ('~/timing', DiagnosticArray, 10),
    'processing_time_ms': ('~/debug/processing_time_ms', Float64, 10),
    'cyclic_time_ms': ('~/debug/cyclic_time_ms', Float64, 10),
    'pipeline_latency_ms': ('~/debug/pipeline_latency_ms', Float64, 10),
}
"""Name, type and queue depth of what is published per frame, beside the latched labels.

With depth 1 the next mask overwrites one that reliable transport is about to resend: 2 of 3,000
masks were lost that way. Pictures for people may be lost.
"""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraTopics:
    """Puts a camera's name into its topics, diagnostics and log lines.

    Args:
        node: Owner of the topics.
        camera: Its name; '' for the only camera of a node.
    """

    def __init__(self, node: Node, camera: str) -> None:
        self._node = node
        self._camera = camera

    @property
    def log_prefix(self) -> str:
        """Put in front of log lines about the camera."""
        return f'{self._camera}: ' if self._camera else ''

    def task(self, name: str) -> str:
        """Name of a diagnostics status."""
        return f'{self._camera} {name}' if self._camera else name

    def name(self, topic: str) -> str:
        """With the camera's name: 'mask' -> 'front/mask', '~/timing' -> '~/front/timing'.

        Not remapped, since rclpy does that; but 'mask/compressed' follows a remapped 'mask'.
        """
        base, _, rest = topic.partition('/')
        if base == '~':
            return f'~/{self._camera}/{rest}' if self._camera else topic
        base = f'{self._camera}/{base}' if self._camera else base
        return f'{self._node.resolve_topic_name(base)}/{rest}' if rest else base

    def advertise(
        self, class_names: Sequence[str], palette: Sequence[RGB], *, with_camera_info: bool
    ) -> dict[str, Any]:
        """Create the publishers, by the names of `OUTPUTS`, and latch the labels."""
        node, publishers = self._node, {}
        for name, (topic, kind, depth) in OUTPUTS.items():
            if name == 'camera_info' and not with_camera_info:
                continue
            overrides = None
            if name == 'mask':
                overrides = overriding_options(node, self.resolved(topic), 'publisher')
            publishers[name] = node.create_publisher(
                kind, self.name(topic), depth, qos_overriding_options=overrides
            )
        header = Header(stamp=node.get_clock().now().to_msg())
        for topic, message in label_messages(class_names, palette, header).items():
            publishers[topic] = node.create_publisher(type(message), self.name(topic), LATCHED)
            publishers[topic].publish(message)
        return publishers

    def overridable(self, transport: str, *, with_camera_info: bool) -> list[tuple[str, str]]:
        """Topics whose quality of service can be overridden, and 'subscription' or 'publisher'."""
        images = self._node.resolve_topic_name(self.image(transport))
        topics = [(images, 'subscription'), (self.resolved('mask'), 'publisher')]
        if with_camera_info:
            topics.append((self.resolved(CAMERA_INFO), 'subscription'))
        return topics

    def image(self, transport: str) -> str:
        """Name of the image topic, of 'raw' or 'compressed' images."""
        is_raw = transport == 'raw' or self.resolved(IMAGE).endswith('/compressed')
        return self.name(IMAGE if is_raw else COMPRESSED_IMAGE)

    def resolved(self, topic: str) -> str:
        """Fully qualified and remapped."""
        return str(self._node.resolve_topic_name(self.name(topic)))
