"""What happens to one image message: convert or decode, segment, publish, count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.compressed import compressed_to_rgb
from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.ros.frame_slot import Frame
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.health.stream_statistics import StreamStatistics
from dcfm_ros.ros.mask_outputs import MaskOutputs
from dcfm_ros.ros.messages import stamp_to_ns

if TYPE_CHECKING:
    from dcfm_ros.engine import FrameResult, SegmentationEngine
    from dcfm_ros.ros.parameters.segmentation import NodeParameters


_TO_RGB: Mapping[str, tuple[str, Callable[[Any], NDArray[np.uint8]]]] = {
    'raw': ('convert', image_to_rgb),
    'compressed': ('decode_image', compressed_to_rgb),
}
"""Stage that makes an image RGB, and how, by `image_transport`."""


class FrameProcessor:
    """Processes frames one at a time, in the worker's thread.

    The engine is used by nobody else. `values` returns the node's current parameters, `clock_ns`
    the time of its clock, which header stamps are compared with. The logger is its own too: rclpy
    throttles per logger and line of code.
    """

    def __init__(
        self,
        engine: SegmentationEngine,
        outputs: MaskOutputs,
        statistics: StreamStatistics,
        *,
        values: Callable[[], NodeParameters],
        logger: Any,
        log_prefix: str,
        clock_ns: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._outputs = outputs
        self._statistics = statistics
        self._values = values
        self._logger = logger
        self._log_prefix = log_prefix
        self._clock_ns = clock_ns
        self._applied_values: NodeParameters | None = None
        self._reset_requested = False
        self._logged_failure = ''
        self._last_start_s: float | None = None

    def request_reset(self) -> None:
        """Make the next frame a keyframe; from any thread."""
        self._reset_requested = True

    def process(self, frame: Frame) -> None:
        """Answer a frame, or refuse it if it is bad: the only place where that is decided.

        Raises:
            RuntimeError: If CUDA failed, which cannot be survived.
        """
        start_s = time.monotonic()
        values, engine = self._values(), self._engine
        if values is not self._applied_values:
            self._applied_values = values
            engine.schedule = values.schedule_options
        if self._reset_requested:
            self._reset_requested = False
            engine.reset()
        stage, to_rgb = _TO_RGB[values.image_transport]
        try:
            image = to_rgb(frame.message)
            input_ms = {stage: (time.monotonic() - start_s) * 1e3}
            result = engine.step(image, stamp_to_ns(frame.message.header.stamp))
        except (ValueError, RuntimeError, MemoryError, cv2.error) as error:
            if isinstance(error, RuntimeError) and engine.backend.device != 'cpu':
                raise
            self._statistics.refused(str(error))
            text = f'{self._log_prefix}refused an image: {error}'
            self._logger.error(text, throttle_duration_sec=1.0)
            return
        if (failure := engine.backend.failure) != self._logged_failure:
            self._logged_failure = failure
            self._logger.error(self._log_prefix + failure)
        self._answer(frame, image, result, start_s, input_ms, values)

    def _answer(
        self,
        frame: Frame,
        image: NDArray[np.uint8],
        result: FrameResult,
        start_s: float,
        input_ms: Mapping[str, float],
        values: NodeParameters,
    ) -> None:
        header, outputs = frame.message.header, self._outputs
        begin_s = time.monotonic()
        mask = outputs.publish_mask(result, header, values)
        now_s = time.monotonic()
        latency_ms = (now_s - frame.received_s) * 1e3
        # Simulated time may lag behind the stamps, and jump back.
        pipeline_ms = max((self._clock_ns() - result.stamp_ns) / 1e6, 0.0)
        self._statistics.answered(now_s, latency_ms, result.is_keyframe)
        outputs.publish_companions(image, mask, result, header, values)
        end_s = time.monotonic()
        if values.publish_timing:
            timing = FrameTiming(
                is_keyframe=result.is_keyframe,
                reason=result.reason,
                keyframe_age=result.keyframe_age,
                feature_age_ms=result.feature_age_ms,
                change_score=result.change_score,
                stage_ms={**input_ms, **result.stage_ms, 'publish': (end_s - begin_s) * 1e3},
                wait_ms=(start_s - frame.received_s) * 1e3,
                latency_ms=latency_ms,
                frames_dropped=self._statistics.total_dropped,
            )
            outputs.publish_timing(timing, header)
        outputs.publish_number('processing_time_ms', (end_s - start_s) * 1e3)
        outputs.publish_number('pipeline_latency_ms', pipeline_ms)
        if self._last_start_s is not None:
            outputs.publish_number('cyclic_time_ms', (start_s - self._last_start_s) * 1e3)
        self._last_start_s = start_s
