"""What happens to a mask: look up the ground, vote, publish, count."""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping
import time
from typing import Any, NamedTuple

from nav_msgs.msg import OccupancyGrid
import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64, Header

from dcfm_ros.ground.camera_pose import CameraPose
from dcfm_ros.ground.geometry import Lens, Pose
from dcfm_ros.ground.grid import (
    GROUND,
    IGNORED,
    OBSTACLE,
    GridShape,
    GroundTable,
    without_doubtful_ground,
)
from dcfm_ros.ground.places import MAX_REORDERING_NS
from dcfm_ros.ground.votes import GroundVotes, Place
from dcfm_ros.images.depth import image_to_ids
from dcfm_ros.masks.class_labels import ClassLabels
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.messages import stamp_to_ns
from dcfm_ros.ros.parameters.ground import GroundParameters

_MOVED = 1e-3
"""m, or radians: a camera that has moved less is where it was."""


class GroundJob(NamedTuple):
    """What one grid is made of."""

    frame: Frame
    """Its message is the mask, sensor_msgs/Image."""
    info: Any
    """sensor_msgs/CameraInfo."""
    labels: ClassLabels
    place: Place | None
    """Of the base by odometry, at the time of the mask; None if it is not known."""
    confidence: Any = None
    """sensor_msgs/Image of the mask's stamp; None if it does not matter."""


def meaning_of(labels: ClassLabels, values: GroundParameters) -> NDArray[np.uint8]:
    """`GROUND`, `IGNORED` or `OBSTACLE` for each id, (256,); ids without a name are ignored."""
    is_labelled, _ = labels.keep(())
    meaning = np.where(is_labelled, OBSTACLE, IGNORED).astype(np.uint8)
    for entries, kind in ((values.free_labels, GROUND), (values.ignore_labels, IGNORED)):
        if entries:
            meaning[labels.keep(entries)[0]] = kind
    meaning[255] = IGNORED
    return meaning


class GroundProcessor:
    """Makes grids one at a time, in the worker's thread; has publishers by topic.

    The table of look-ups is kept until size, calibration or pose of the camera change.
    """

    def __init__(
        self,
        outputs: Mapping[str, Any],
        statistics: StreamStatistics,
        poses: CameraPose,
        *,
        values: Callable[[], GroundParameters],
        logger: Any,
    ) -> None:
        self._outputs = outputs
        self._statistics = statistics
        self._poses = poses
        self._values = values
        self._logger = logger
        start = values()
        self._shape = GridShape.around(start.resolution, start.ahead, start.behind, start.aside)
        self._votes = GroundVotes(self._shape, start.votes)
        self._stamp_ns = 0
        self._table: GroundTable | None = None
        self._made_for: tuple[Any, Pose] | None = None

    def process(self, job: GroundJob) -> None:
        """Answer a mask, or refuse it if anything it needs is bad."""
        start_s = time.monotonic()
        message, values = job.frame.message, self._values()
        try:
            mask, meaning = image_to_ids(message, 'mask'), meaning_of(job.labels, values)
            if job.confidence is not None:
                confidence = image_to_ids(job.confidence, 'confidence')
                limit = values.min_confidence
                mask = without_doubtful_ground(mask, confidence, meaning, limit)
            table = self._table_for(job.info, message.header.frame_id, mask.shape)
        except ValueError as error:
            self._statistics.refused(str(error))
            self._logger.error(f'no grid: {error}', throttle_duration_sec=1.0)
            return
        grid, stamp = table.grid(mask, meaning), message.header.stamp
        stamp_ns = stamp_to_ns(stamp)
        if job.place is None or stamp_ns < self._stamp_ns - MAX_REORDERING_NS:
            self._votes.clear()
        self._stamp_ns = stamp_ns
        if job.place is not None:
            grid = self._votes.add(grid, job.place)
        header = Header(stamp=stamp, frame_id=values.base_frame)
        self._outputs['ground_grid'].publish(grid_to_message(grid, self._shape, header))
        now_s = time.monotonic()
        latency_ms = (now_s - job.frame.received_s) * 1e3
        self._statistics.answered(now_s, latency_ms, is_keyframe=False)
        timing = self._outputs['processing_time_ms']
        if timing.get_subscription_count() > 0:
            timing.publish(Float64(data=(now_s - start_s) * 1e3))

    def _table_for(self, info: Any, frame_id: str, size: tuple[int, ...]) -> GroundTable:
        """The table of a calibration and pose; made anew if they have changed."""
        values, pose = self._values(), self._poses.find(frame_id)
        if self._table is not None and self._made_for is not None:
            known, before = self._made_for
            moved = max(
                float(np.abs(pose.rotation - before.rotation).max()),
                float(np.abs(pose.position - before.position).max()),
            )
            if moved < _MOVED and self._table.size == size and _calibration(info) == known:
                return self._table
        lens = Lens.of(info, size[1], size[0], is_rectified=values.is_rectified)
        self._table = GroundTable(
            self._shape,
            lens,
            pose,
            min_range=values.min_range,
            max_range=values.max_range,
            min_obstacle_height=values.min_obstacle_height,
        )
        self._made_for = _calibration(info), pose
        return self._table


def grid_to_message(grid: NDArray[np.int8], shape: GridShape, header: Header) -> OccupancyGrid:
    """Put a grid, (rows, columns), into a message whose origin is the corner of its first cell."""
    message = OccupancyGrid(header=header)
    info = message.info
    info.map_load_time = header.stamp
    info.resolution = shape.resolution
    info.width, info.height = shape.columns, shape.rows
    info.origin.position.x, info.origin.position.y = shape.x, shape.y
    message.data = array.array('b', grid.tobytes())
    return message


def _calibration(info: Any) -> tuple[Any, ...]:
    """All of a CameraInfo that counts, to compare."""
    roi = info.roi
    window = roi.x_offset, roi.y_offset, roi.width, roi.height, info.binning_x, info.binning_y
    numbers = tuple(info.k), tuple(info.p), tuple(info.d)
    return (info.width, info.height, info.distortion_model, window, numbers)
