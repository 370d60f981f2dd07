"""One frame of an input, whatever it comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class SourceError(RuntimeError):
    """An input that cannot be read; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class SourceFrame:
    """One frame of an input."""

    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    stamp_ns: int
    """Acquisition time in nanoseconds."""
    frame_id: str = 'camera_optical_frame'
    """Frame of the camera, from the bag's header where there is one."""
    label: NDArray[np.uint8] | None = None
    """True class of every pixel, (H, W); 255 or any id without a class is ignored."""
