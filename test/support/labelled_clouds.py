"""semantic_cloud_node's way from messages to messages, without DDS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from dcfm_ros.cloud.inputs import DROP_CAUSES
from dcfm_ros.cloud.matching import Match
from dcfm_ros.cloud.processor import CloudJob, CloudProcessor
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.messages import array_to_image
from dcfm_ros.ros.parameters.cloud import CloudParameters


class Output:
    """A publisher that has a subscriber, which keeps the last message."""

    message: Any = None

    def get_subscription_count(self) -> int:
        return 1

    def publish(self, message: Any) -> None:
        self.message = message


class Clouds:
    """Makes clouds with some labels and parameters."""

    def __init__(self, labels: ClassLabels, **parameters: Any) -> None:
        topics = ('', '/mask', '/confidence', '/filtered')
        self.outputs = {f'points{topic}': Output() for topic in topics}
        self.statistics = StreamStatistics(causes=DROP_CAUSES)
        self._labels = labels
        values = CloudParameters(**parameters)
        self._processor = CloudProcessor(
            self.outputs | {'processing_time_ms': Output()},
            self.statistics,
            values=lambda: values,
            logger=None,
        )

    def make(
        self, depth: Image, mask: Image, confidence: Image | None, info: CameraInfo
    ) -> tuple[PointCloud2, Image, Image]:
        """The cloud with its mask and confidence."""
        frame = Frame(depth, 0.0)
        match = Match(1, mask, confidence, None, frame)
        self._processor.process(CloudJob(match, info, self._labels))
        cloud, *images, filtered = (output.message for output in self.outputs.values())
        assert np.isfinite(np.frombuffer(filtered.data, np.float32)).all()
        assert all(image.header == cloud.header == depth.header for image in images)
        return cloud, *images

    @property
    def filtered(self) -> PointCloud2:
        """The last points/filtered."""
        cloud: PointCloud2 = self.outputs['points/filtered'].message
        return cloud


def picture(pixels: NDArray[Any], encoding: str) -> Image:
    """A message with the pixels of an array, (H, W)."""
    header = Header(frame_id='optical')
    message = array_to_image(np.ascontiguousarray(pixels).view(np.uint8), encoding, header)
    message.width = pixels.shape[1]
    return message
