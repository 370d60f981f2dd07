"""`MaskOutputs`: where everything that belongs to a mask is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Float64, Header

from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.masks.overlay import RGB, blend, colorize
from dcfm_ros.masks.png import mask_to_png
from dcfm_ros.masks.resize import resize_nearest, resize_picture
from dcfm_ros.ros import messages
from dcfm_ros.ros.camera_info_relay import CameraInfoRelay
from dcfm_ros.ros.frame_timing import FrameTiming
from dcfm_ros.ros.parameters.segmentation import NodeParameters

if TYPE_CHECKING:
    from dcfm_ros.engine import FrameResult


class MaskOutputs:
    """Fills and publishes the messages of a frame, in the worker's thread.

    Publishers have the names of `camera_topics.OUTPUTS` and, with groups, of `group_outputs`;
    `node_name`, fully qualified, and `task` name a frame in the timing. Without a relay no
    camera_info is published.
    """

    def __init__(
        self,
        publishers: Mapping[str, Any],
        palette: Sequence[RGB],
        *,
        node_name: str,
        task: str = 'frame',
        groups: ClassGroups | None = None,
        camera_info: CameraInfoRelay | None = None,
    ) -> None:
        self._publishers = publishers
        self._palette = palette
        self._node_name = node_name
        self._task = task
        self._groups = groups
        self._camera_info = camera_info

    def publish_mask(
        self, result: FrameResult, header: Header, values: NodeParameters
    ) -> NDArray[np.uint8]:
        """Publish the mask of a frame, at the size that the parameters ask for, and return it."""
        height, width = result.mask.shape
        size = values.output_height or height, values.output_width or width
        mask = resize_nearest(result.mask, size)
        self._publish('mask', messages.array_to_image(mask, 'mono8', header))
        return mask

    def publish_companions(
        self,
        image: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        result: FrameResult,
        header: Header,
        values: NodeParameters,
    ) -> None:
        """Publish what belongs to a mask, where it has subscribers and the parameters allow it.

        The image is RGB, (H, W, 3), the mask as published, (h, w).
        """
        if self._camera_info is not None:
            info = self._camera_info.for_mask(header, image.shape[:2], mask.shape)
            if info is not None:
                self._publish('camera_info', info)
        if values.publish_compressed_mask and self._is_wanted('compressed_mask'):
            self._publish('compressed_mask', messages.png_to_message(mask_to_png(mask), header))
        if self._is_wanted('int16_mask'):
            self._publish('int16_mask', messages.ids_to_int16_image(mask, header))
        if self._groups is not None:
            self._publish_groups(self._groups, mask, header)
        if values.publish_confidence and self._is_wanted('confidence'):
            confidence = resize_nearest(result.confidence, mask.shape)
            self._publish('confidence', messages.confidence_to_image(confidence, header))
        if values.publish_color_mask and self._is_wanted('color_mask'):
            picture = colorize(mask, self._palette)
            self._publish('color_mask', messages.array_to_image(picture, 'rgb8', header))
        if values.publish_overlay and self._is_wanted('overlay'):
            background = resize_picture(image, mask.shape)
            picture = blend(background, mask, self._palette, values.overlay_alpha)
            self._publish('overlay', messages.array_to_image(picture, 'rgb8', header))

    def publish_timing(self, timing: FrameTiming, header: Header) -> None:
        """Publish the timing of a frame."""
        statuses = [timing.status(self._task)]
        message = messages.statuses_to_diagnostics(statuses, header, self._node_name)
        self._publish('timing', message)

    def publish_number(self, topic: str, value: float) -> None:
        """Publish a number on one of the debug topics, if it has subscribers."""
        if self._is_wanted(topic):
            self._publish(topic, Float64(data=value))

    def _publish_groups(
        self, groups: ClassGroups, mask: NDArray[np.uint8], header: Header
    ) -> None:
        if self._is_wanted('groups/mask'):
            message = messages.array_to_image(groups.ids(mask), 'mono8', header)
            self._publish('groups/mask', message)
        if self._is_wanted('groups/mask/int16'):
            message = messages.ids_to_int16_image(groups.ids(mask), header)
            self._publish('groups/mask/int16', message)
        for index, name in enumerate(groups.names):
            if self._is_wanted(topic := f'masks/{name}'):
                inside = groups.member(mask, index)
                self._publish(topic, messages.array_to_image(inside, 'mono8', header))

    def _publish(self, topic: str, message: Any) -> None:
        self._publishers[topic].publish(message)

    def _is_wanted(self, topic: str) -> bool:
        return bool(self._publishers[topic].get_subscription_count() > 0)
