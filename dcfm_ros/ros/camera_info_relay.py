"""The newest calibration of a camera, for its masks."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

from dcfm_ros.images.calibration import camera_info_of_mask

_PAUSE_S = 1.0


class CameraInfoRelay:
    """Keeps the last camera_info received, so that no image waits for one.

    One thread receives, another asks. Why one does not fit the masks is logged once, and another
    reason a second later at the earliest.
    """

    def __init__(self, log_warning: Callable[[str], None]) -> None:
        self._log_warning = log_warning
        self._info: Any = None
        self._logged = ''
        self._logged_s = -_PAUSE_S
        self.problem = ''
        """Why the last mask got no camera_info; '' if it got one."""

    def receive(self, info: Any) -> None:
        """Take a sensor_msgs/CameraInfo."""
        self._info = info

    def for_mask(
        self, header: Any, image_size: tuple[int, ...], mask_size: tuple[int, ...]
    ) -> Any | None:
        """The camera_info of a mask, or None if there is none of this image's size.

        Sizes are (height, width); the header is that of the image.
        """
        if self._info is None:  # no warning: it may be on its way
            self.problem = 'no `camera_info` received'
            return None
        try:
            scaled = camera_info_of_mask(self._info, header, image_size, mask_size)
        except ValueError as error:
            self.problem = str(error)
            now_s = time.monotonic()
            if self.problem != self._logged and now_s - self._logged_s >= _PAUSE_S:
                self._logged, self._logged_s = self.problem, now_s
                self._log_warning(f'mask/camera_info is not published: {error}')
            return None
        self.problem = ''
        return scaled
