"""The topics of a camera: images in, outputs out; those of the labels are in `messages`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, Header

from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.masks.overlay import RGB
from dcfm_ros.ros.messages import label_messages
from dcfm_ros.ros.qos_overrides import overriding_options

OUTPUTS: Mapping[str, tuple[str, Any, int]] = {
    'mask': ('mask', Image, 5),
    'compressed_mask': ('mask/compressed', CompressedImage, 5),
    'int16_mask': ('mask/int16', Image, 5),
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


def group_outputs(groups: ClassGroups) -> dict[str, tuple[str, Any, int]]:
    """The same for what is published of groups; names are those of the topics."""
    topics = ['groups/mask', 'groups/mask/int16', *(f'masks/{name}' for name in groups.names)]
    return {topic: (topic, Image, 5) for topic in topics}


class CameraTopics:
    """Puts a camera's name, '' for the only one of a node, into topics, statuses and log lines."""

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
        self,
        class_names: Sequence[str],
        palette: Sequence[RGB],
        groups: ClassGroups | None = None,
        *,
        with_camera_info: bool,
    ) -> dict[str, Any]:
        """Create the publishers, by the names of the tables above, and latch the labels."""
        node, publishers = self._node, {}
        outputs = {**OUTPUTS, **(group_outputs(groups) if groups else {})}
        for name, (topic, kind, depth) in outputs.items():
            if name == 'camera_info' and not with_camera_info:
                continue
            overrides = None
            if name == 'mask':
                resolved = node.resolve_topic_name(self.name(topic))
                overrides = overriding_options(node, resolved, 'publisher')
            publishers[name] = node.create_publisher(
                kind, self.name(topic), depth, qos_overriding_options=overrides
            )
        header = Header(stamp=node.get_clock().now().to_msg())
        latched = label_messages(class_names, palette, header)
        if groups is not None:
            of_groups = label_messages(groups.names, groups.palette, header)
            latched |= {f'groups/{topic}': message for topic, message in of_groups.items()}
        for topic, message in latched.items():
            publishers[topic] = node.create_publisher(type(message), self.name(topic), LATCHED)
            publishers[topic].publish(message)
        return publishers

    def image(self, transport: str) -> str:
        """Name of the image topic, of 'raw' or 'compressed' images."""
        name = self._node.resolve_topic_name(self.name('image'))
        is_raw = transport == 'raw' or name.endswith('/compressed')
        return self.name('image' if is_raw else 'image/compressed')
