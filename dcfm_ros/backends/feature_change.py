"""How much the independent features of two frames differ.

Shapes: C_f independent channels, h w feature grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELL = 8
"""Rows and columns of a cell."""
_LEAST_NORM = 1e-12
"""Of a vector that is divided by its norm: nothing stays nothing."""


def digest(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """What is kept of an independent feature: its direction in every cell of 8 x 8 positions.

    Smaller cells predict the loss in accuracy less well (see docs/adaptive_keyframes.md).

    Args:
        vectors: Raw, (h, w, C_f), channels last.

    Returns:
        Mean over the cell, divided by its L2 norm, (h / 8, w / 8, C_f) rounded up; an array of
        its own.
    """
    cells = _mean_of_rows(np.asarray(vectors, np.float32))
    cells = _mean_of_rows(cells.swapaxes(0, 1)).swapaxes(0, 1)
    norms = np.sqrt(np.square(cells).sum(-1, keepdims=True))
    return np.asarray(cells / np.maximum(norms, _LEAST_NORM), np.float32)


def feature_change(cells: NDArray[np.float32], keyframe: NDArray[np.float32]) -> float:
    """How much two digests differ: 1 minus the mean cosine of the cells, in [0, 2]."""
    return max(0.0, 1 - float((cells * keyframe).sum(-1).mean()))  # rounding may go below 0


def _mean_of_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of every `CELL` rows; the last rows may be fewer."""
    # Whole rows at once: `np.add.reduceat` takes 15 times as long.
    total = vectors[::CELL].copy()
    counts = np.ones((len(total), 1, 1), np.float32)
    for first in range(1, CELL):
        rows = vectors[first::CELL]
        total[: len(rows)] += rows
        counts[: len(rows)] += 1
    return total / counts
