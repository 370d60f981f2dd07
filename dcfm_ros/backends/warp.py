"""Moving a feature along an optical flow, and blending logits with those of an earlier frame.

For arrays, on the CPU. Shapes: C channels, K classes, H W image, h w feature grid.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_MAX_CHANNELS = 128
"""Channels that `cv2.remap` takes at a time."""
Floats = NDArray[np.float32]


class Places(NamedTuple):
    """Where on the feature grid to sample from, for every place of it."""

    x: Floats
    """Column, (h, w)."""
    y: Floats
    """Row, (h, w)."""

    def on(self, grid: tuple[int, ...]) -> Places:
        """The same on another grid, (h, w), of the same image."""
        if self.x.shape == tuple(grid):
            return self
        height, width = self.x.shape
        columns = self.x - np.arange(width, dtype=np.float32)
        rows = self.y - np.arange(height, dtype=np.float32)[:, None]
        return places(np.dstack([columns, rows]), (grid[0], grid[1]))


def places(flow: Floats, grid: tuple[int, int]) -> Places:
    """Where the flow points on a feature grid.

    Args:
        flow: Where to sample from, relative to each pixel: (H, W, 2), x and y in its own pixels,
            of any size.
        grid: (h, w).
    """
    height, width = grid
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    shift = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * scale
    x = np.arange(width, dtype=np.float32) + shift[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + shift[..., 1]
    return Places(x, y)


def warp_vectors(vectors: Floats, at: Places) -> Floats:
    """Sample every vector of a feature bilinearly at other places; borders are repeated.

    In steps of 1/32 between neighbours. A vector should lie together in memory.

    Args:
        vectors: (h, w, C), channels last.
        at: On its grid.

    Returns:
        (h, w, C), an array of its own.
    """
    cuts = range(_MAX_CHANNELS, vectors.shape[-1], _MAX_CHANNELS)
    parts = [sample(part, at) for part in np.split(vectors, cuts, -1)]
    # OpenCV drops the last axis of a single channel.
    return np.dstack(parts) if len(parts) > 1 or parts[0].ndim == 2 else parts[0]


def blend_planes(
    planes: NDArray[Any], earlier: NDArray[Any], at: Places, weight: Floats
) -> Floats:
    """A weighted mean of the logits of two frames.

    Args:
        planes: Logits, (K, h, w); left as they are.
        earlier: Logits of another frame.
        at: Where the content of every place was in that frame.
        weight: Of the earlier logits, (h, w), in [0, 1].

    Returns:
        (K, h, w), contiguous.
    """
    blended = np.array(planes, np.float32, order='C')
    for plane, before in zip(blended, np.asarray(earlier, np.float32), strict=True):
        plane += weight * (sample(before, at) - plane)
    return blended


def sample(array: NDArray[Any], at: Places) -> NDArray[Any]:
    """Values of an array, (h, w) or (h, w, C) of at most 128, at places; borders are repeated."""
    return cv2.remap(array, at.x, at.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
