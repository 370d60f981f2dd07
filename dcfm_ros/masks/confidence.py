"""Confidence images, 0 to 255, against a limit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def is_sure(confidence: NDArray[np.uint8], min_confidence: float) -> NDArray[np.bool_]:
    """Which pixels have at least a confidence in [0, 1]; the shape is that of the image."""
    lowest = math.ceil(min_confidence * 255 - 1e-6)  # .2 is 51, not 52
    found: NDArray[np.bool_] = confidence >= lowest
    return found
