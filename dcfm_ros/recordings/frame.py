"""One frame of a source, whatever the source is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class SourceError(RuntimeError):
    """A source that cannot be read; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class SourceFrame:
    """One frame of a source."""

    image: NDArray[np.uint8]
    """RGB, (H, W, 3)."""
    stamp_ns: int
    """Acquisition time in nanoseconds."""
    frame_id: str = 'camera_optical_frame'
    """Coordinate frame of the camera, from the header in a bag."""
    label: NDArray[np.uint8] | None = None
    """True class of every pixel, (H, W); 255 and ids without a class are ignored."""
