"""What happens to a depth image with its mask: project, label, publish, count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64

from dcfm_ros.cloud.matching import Match
from dcfm_ros.cloud.messages import dense_cloud, organised_cloud
from dcfm_ros.cloud.points import (
    believe,
    fill_channels,
    fill_points,
    on_depth_grid,
    pack_rgb,
    point_type,
    select_points,
)
from dcfm_ros.images.calibration import Intrinsics, intrinsics_of
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
            pixels, channels = _read(job, values), _channels(job.labels, values)
        except ValueError as error:
            self._statistics.refused(str(error))
            self._logger.error(f'no cloud: {error}', throttle_duration_sec=1.0)
            return
        self._publish(pixels, channels, job.labels, values, frame.message.header)
        now_s = time.monotonic()
        self._statistics.answered(now_s, (now_s - frame.received_s) * 1e3, is_keyframe=False)
        if self._is_wanted('processing_time_ms'):
            self._outputs['processing_time_ms'].publish(Float64(data=(now_s - start_s) * 1e3))

    def _publish(
        self,
        pixels: _Pixels,
        channels: Mapping[str, NDArray[np.bool_]],
        labels: ClassLabels,
        values: CloudParameters,
        header: Any,
    ) -> None:
        """Publish what has subscribers."""
        images = {'points/mask': pixels.mask, 'points/confidence': pixels.confidence}
        for topic, image in images.items():
            if self._is_wanted(topic):
                message = messages.array_to_image(image, 'mono8', header)
                self._outputs[topic].publish(message)
        is_wanted = {topic: self._is_wanted(topic) for topic in ('points', 'points/filtered')}
        if not any(is_wanted.values()):
            return
        height, width = pixels.depth.shape
        cloud, points = organised_cloud(height, width, header, point_type(list(channels)))
        fill_points(points, *pixels, values.stride)
        fill_channels(points, channels)
        if is_wanted['points/filtered']:
            is_kept, _ = labels.keep(values.keep_labels)
            kept = select_points(points, is_kept[pixels.mask] & ~np.isnan(pixels.depth))
            self._outputs['points/filtered'].publish(dense_cloud(kept, header))
        if is_wanted['points']:
            self._outputs['points'].publish(cloud)

    def _is_wanted(self, topic: str) -> bool:
        return bool(self._outputs[topic].get_subscription_count() > 0)


class _Pixels(NamedTuple):
    """The images of one cloud, all of its height and width, in the order of `fill_points`."""

    depth: NDArray[np.float32]
    """nan where there is no point."""
    intrinsics: Intrinsics
    """Of the whole depth image."""
    mask: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    """0 where the class is not to be believed."""
    rgb: NDArray[np.float32]


def _read(job: CloudJob, values: CloudParameters) -> _Pixels:
    """Take each `stride`-th pixel of all images and leave out what is not to be believed.

    Raises:
        ValueError: If an image is bad or does not fit the depth image.
    """
    match, step = job.match, slice(None, None, values.stride)
    depth = image_to_depth(match.depth.message, values.min_range, values.max_range)
    height, width = depth.shape
    intrinsics = intrinsics_of(job.info, width, height)
    depth = depth[step, step]
    mask = on_depth_grid('mask', image_to_ids(match.mask, 'mask'), (width, height))[step, step]
    confidence = None
    if match.confidence is not None:
        image = image_to_ids(match.confidence, 'confidence')
        confidence = on_depth_grid('confidence', image, (width, height))[step, step]
    if match.image is not None:
        image = on_depth_grid('image', image_to_rgb(match.image), (width, height))
        rgb = pack_rgb(image[step, step])
    else:
        rgb = pack_rgb(job.labels.palette())[mask]
    is_wanted, _ = job.labels.without(values.drop_labels, drops_unlabelled=values.drop_unlabelled)
    is_believed = believe(mask, confidence, is_wanted, values.min_confidence)
    np.copyto(depth, np.nan, where=~is_believed)
    sure = np.uint8(255) if confidence is None else confidence
    return _Pixels(depth, intrinsics, mask, sure * is_believed, rgb)


def _channels(labels: ClassLabels, values: CloudParameters) -> dict[str, NDArray[np.bool_]]:
    """Which ids, (256,), each of the channels is made of, by name.

    Raises:
        ValueError: If one of them is no class.
    """
    found = {name: labels.named(name) for name in values.channels}
    unknown = [name for name, is_member in found.items() if not is_member.any()]
    if unknown:
        known = ', '.join(labels.names.values())
        raise ValueError(f'`channels` must be of the classes {known}, got {", ".join(unknown)}')
    return found
