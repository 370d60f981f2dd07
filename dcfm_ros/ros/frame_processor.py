"""What happens to one image message: convert or decode, segment, publish, count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.compressed import compressed_to_rgb, mask_to_png
from dcfm_ros.images.raw import image_to_rgb
from dcfm_ros.masks.overlay import blend, colorize
from dcfm_ros.masks.resize import resize_nearest, resize_picture
from dcfm_ros.ros import messages
from dcfm_ros.ros.camera_info_relay import CameraInfoRelay
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.health.log_throttle import LogThrottle
from dcfm_ros.ros.health.stream_statistics import StreamStatistics

if TYPE_CHECKING:
    from dcfm_ros.engine import FrameResult, SegmentationEngine
    from dcfm_ros.ros.parameters.segmentation import NodeParameters


_TO_RGB: Mapping[str, tuple[str, Callable[[Any], NDArray[np.uint8]]]] = {
    'raw': ('convert', image_to_rgb),
    'compressed': ('decode_image', compressed_to_rgb),
}
"""How an image becomes RGB, and what ~/timing calls it, by `image_transport`."""


class Frame(NamedTuple):
    """An image message and when it came."""

    message: Any
    """sensor_msgs/Image or CompressedImage, by the parameter `image_transport`."""
    received_s: float
    """Steady clock, s."""


class FrameProcessor:
    """Works on frames one at a time, in the worker's thread.

    Args:
        engine: Used by nobody else.
        outputs: Publishers of the camera by the names of `messages.OUTPUTS`.
        statistics: Told what became of each frame.
        values: Gives the node's parameters of now; asked once per frame.
        adjust: Called with new parameters before the first frame that they hold for.
        log_error: Given a line for a frame that could not be used, once per second at most, and
            one if the backend fails.
        clock_ns: The node's clock, which the header stamps are compared with.
        node_name: Fully qualified, for the names in diagnostics.
        task: What a frame is called in ~/timing, beside the node's name.
        camera_info: Has the calibration; None: none is published.
    """

    def __init__(
        self,
        engine: SegmentationEngine,
        outputs: Mapping[str, Any],
        statistics: StreamStatistics,
        *,
        values: Callable[[], NodeParameters],
        adjust: Callable[[NodeParameters], None],
        log_error: Callable[[str], None],
        clock_ns: Callable[[], int],
        node_name: str,
        task: str = 'frame',
        camera_info: CameraInfoRelay | None = None,
    ) -> None:
        self._engine = engine
        self._outputs = outputs
        self._statistics = statistics
        self._read_values = values
        self._values = values()
        self._adjust = adjust
        self._log_error = log_error
        self._clock_ns = clock_ns
        self._node_name = node_name
        self._task = task
        self._camera_info = camera_info
        self._throttle = LogThrottle()
        self._reset_requested = False
        self._told_backend_failure = ''
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
        if (values := self._read_values()) is not self._values:
            self._values = values
            self._adjust(values)
        if self._reset_requested:
            self._reset_requested = False
            self._engine.reset()
        stage, to_rgb = _TO_RGB[self._values.image_transport]
        try:
            image = to_rgb(frame.message)
            converted_s = time.monotonic()
            result = self._engine.step(image, messages.stamp_to_ns(frame.message.header.stamp))
        except (ValueError, RuntimeError, MemoryError, cv2.error) as error:
            if isinstance(error, RuntimeError) and self._engine.device != 'cpu':
                raise
            self._refuse(str(error))
            return
        if (failure := self._engine.backend_failure) != self._told_backend_failure:
            self._told_backend_failure = failure
            self._log_error(failure)
        self._answer(frame, image, result, start_s, {stage: (converted_s - start_s) * 1e3})

    def _refuse(self, reason: str) -> None:
        self._statistics.refused(reason)
        # The same complaint about another value is no news.
        held_back = self._throttle.allow(reason.partition(', got ')[0], time.monotonic())
        if held_back is not None:
            more = f' ({held_back} more like it were not logged)' if held_back else ''
            self._log_error(f'refused an image: {reason}{more}')

    def _answer(
        self,
        frame: Frame,
        image: NDArray[np.uint8],
        result: FrameResult,
        start_s: float,
        input_ms: Mapping[str, float],
    ) -> None:
        header, values = frame.message.header, self._values
        publish_s = time.monotonic()
        height, width = image.shape[:2]
        size = values.output_height or height, values.output_width or width
        mask = resize_nearest(result.mask, size)
        self._outputs['mask'].publish(messages.array_to_image(mask, 'mono8', header))
        now_s = time.monotonic()
        latency_ms = (now_s - frame.received_s) * 1e3
        # Simulated time may lag behind the stamps, and jump back.
        pipeline_ms = max((self._clock_ns() - result.stamp_ns) / 1e6, 0.0)
        self._statistics.answered(now_s, latency_ms, result.is_keyframe)
        self._publish_companions(mask, header, (height, width))
        self._publish_pictures(image, mask, result, header)
        end_s = time.monotonic()
        if values.publish_timing:
            timing = FrameTiming(
                is_keyframe=result.is_keyframe,
                reason=result.reason,
                keyframe_age=result.keyframe_age,
                feature_age_ms=result.feature_age_ms,
                change_score=result.change_score,
                stage_ms={**input_ms, **result.stage_ms, 'publish': (end_s - publish_s) * 1e3},
                wait_ms=(start_s - frame.received_s) * 1e3,
                latency_ms=latency_ms,
                frames_dropped=self._statistics.total_dropped,
            )
            statuses = [timing.status(self._task)]
            message = messages.statuses_to_diagnostics(statuses, header, self._node_name)
            self._outputs['timing'].publish(message)
        self._publish_number('processing_time_ms', (end_s - start_s) * 1e3)
        self._publish_number('pipeline_latency_ms', pipeline_ms)
        if self._last_start_s is not None:
            self._publish_number('cyclic_time_ms', (start_s - self._last_start_s) * 1e3)
        self._last_start_s = start_s

    def _publish_companions(
        self, mask: NDArray[np.uint8], header: Any, image_size: tuple[int, int]
    ) -> None:
        """Publish what belongs to the mask, where somebody listens."""
        if self._camera_info is not None:
            info = self._camera_info.for_mask(header, image_size, mask.shape)
            if info is not None:
                self._outputs['camera_info'].publish(info)
        if self._values.publish_compressed_mask and self._is_wanted('compressed_mask'):
            message = messages.png_to_message(mask_to_png(mask), header)
            self._outputs['compressed_mask'].publish(message)

    def _publish_pictures(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        result: FrameResult,
        header: Any,
    ) -> None:
        """Compute and publish what somebody listens to and the parameters allow."""
        palette, values = self._engine.net.palette, self._values
        if values.publish_confidence and self._is_wanted('confidence'):
            confidence = resize_nearest(result.confidence, mask.shape)
            message = messages.confidence_to_image(confidence, header)
            self._outputs['confidence'].publish(message)
        if values.publish_color_mask and self._is_wanted('color_mask'):
            picture = colorize(mask, palette)
            message = messages.array_to_image(picture, 'rgb8', header)
            self._outputs['color_mask'].publish(message)
        if values.publish_overlay and self._is_wanted('overlay'):
            picture = blend(resize_picture(image, mask.shape), mask, palette, values.overlay_alpha)
            message = messages.array_to_image(picture, 'rgb8', header)
            self._outputs['overlay'].publish(message)

    def _publish_number(self, topic: str, value: float) -> None:
        if self._is_wanted(topic):
            self._outputs[topic].publish(messages.number(value))

    def _is_wanted(self, topic: str) -> bool:
        return bool(self._outputs[topic].get_subscription_count() > 0)
