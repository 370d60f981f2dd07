"""What happens to a depth image with its mask: project, label, publish, count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64

from dcfm_ros.cloud.matching import Match
from dcfm_ros.cloud.messages import points_to_cloud
from dcfm_ros.cloud.points import build_points, keep_points, on_depth_grid, pack_rgb
from dcfm_ros.images.calibration import intrinsics_of
from dcfm_ros.images.depth import image_to_depth, image_to_ids
from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.ros import messages
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.parameters.cloud import CloudParameters


class CloudJob(NamedTuple):
    """What one cloud is made of."""

    match: Match
    """Its depth is a `Frame`, the rest are sensor_msgs/Image."""
    info: Any
    """sensor_msgs/CameraInfo."""
    labels: ClassLabels


class CloudProcessor:
    """Makes clouds one at a time, in the worker's thread; has publishers by topic."""

    def __init__(
        self,
        outputs: Mapping[str, Any],
        statistics: StreamStatistics,
        *,
        values: Callable[[], CloudParameters],
        logger: Any,
    ) -> None:
        self._outputs = outputs
        self._statistics = statistics
        self._values = values
        self._logger = logger

    def process(self, job: CloudJob) -> None:
        """Answer a depth image, or refuse it if anything it needs is bad."""
        start_s = time.monotonic()
        frame, values = job.match.depth, self._values()
        try:
            depth = image_to_depth(frame.message, values.min_range, values.max_range)
            points = build_points(
                depth,
                intrinsics_of(job.info, depth.shape[1], depth.shape[0]),
                *_layers(job, (depth.shape[1], depth.shape[0])),
                values.stride,
            )
        except ValueError as error:
            self._statistics.refused(str(error))
            self._logger.error(f'no cloud: {error}', throttle_duration_sec=1.0)
            return
        self._publish(points, job.labels, values, frame.message.header)
        now_s = time.monotonic()
        self._statistics.answered(now_s, (now_s - frame.received_s) * 1e3, is_keyframe=False)
        if self._is_wanted('processing_time_ms'):
            self._outputs['processing_time_ms'].publish(Float64(data=(now_s - start_s) * 1e3))

    def _publish(
        self, points: NDArray[np.void], labels: ClassLabels, values: CloudParameters, header: Any
    ) -> None:
        """Publish what has subscribers."""
        if self._is_wanted('points/mask'):
            mask = points['label'].astype(np.uint8)
            message = messages.array_to_image(mask, 'mono8', header)
            self._outputs['points/mask'].publish(message)
        if self._is_wanted('points/confidence'):
            message = messages.confidence_to_image(points['confidence'], header)
            self._outputs['points/confidence'].publish(message)
        if self._is_wanted('points/filtered'):
            is_kept, _ = labels.keep(values.keep_labels)
            kept = keep_points(points, is_kept, values.min_confidence)
            self._outputs['points/filtered'].publish(points_to_cloud(kept, header, is_dense=True))
        if self._is_wanted('points'):
            self._outputs['points'].publish(points_to_cloud(points, header, is_dense=False))

    def _is_wanted(self, topic: str) -> bool:
        return bool(self._outputs[topic].get_subscription_count() > 0)


def _layers(
    job: CloudJob, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.float32]]:
    """Mask, confidence and packed colours on the grid of the depth image."""
    match = job.match
    mask = on_depth_grid('mask', image_to_ids(match.mask, 'mask'), size)
    confidence = None
    if match.confidence is not None:
        pixels = image_to_ids(match.confidence, 'confidence')
        confidence = on_depth_grid('confidence', pixels, size)
    if match.image is not None:
        rgb = pack_rgb(on_depth_grid('image', image_to_rgb(match.image), size))
    else:
        rgb = pack_rgb(job.labels.palette())[mask]
    return mask, confidence, rgb
