"""`GroundVotes`: a steadier grid from the last ones, moved to where the base is; no ROS."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.ground.geometry import Floats
from dcfm_ros.ground.grid import FREE, OCCUPIED, UNKNOWN, GridShape

_UNKNOWN_BYTE = UNKNOWN & 0xFF


class Place(NamedTuple):
    """Of the base in a frame that stands still."""

    x: float
    y: float
    """In m."""
    yaw: float
    """In radians, counterclockwise."""


class GroundVotes:
    """Majority of the last grids in each cell.

    Grids that do not know a cell do not vote on it. With as many votes for free as for occupied it
    is occupied.

    Args:
        shape: Of all grids.
        count: Number of grids that vote.
    """

    def __init__(self, shape: GridShape, count: int) -> None:
        self._shape = shape
        self._grids: deque[tuple[NDArray[np.int8], Place]] = deque(maxlen=count)

    def add(self, grid: NDArray[np.int8], place: Place) -> NDArray[np.int8]:
        """Take the newest grid, (rows, columns); returns what the majority says."""
        self._grids.append((grid, place))
        balance = np.zeros(grid.size, np.int16)
        is_known = np.zeros(grid.size, np.bool_)
        for former, then in self._grids:
            is_still = then == place
            seen = former.reshape(-1) if is_still else self._moved(former, then, place)
            balance += seen == FREE
            balance -= seen == OCCUPIED
            is_known |= seen != UNKNOWN
        found = np.where(balance > 0, FREE, OCCUPIED).astype(np.int8)
        found[~is_known] = UNKNOWN
        return found.reshape(grid.shape)

    def clear(self) -> None:
        """Forget the grids."""
        self._grids.clear()

    def _moved(self, grid: NDArray[np.int8], then: Place, now: Place) -> NDArray[np.int8]:
        """What a former grid says of the cells of now, (N,)."""
        shape = self._shape
        turn = _rotation(now.yaw - then.yaw)
        way = _rotation(-then.yaw) @ (now.x - then.x, now.y - then.y)
        # Cells are counted from the middle of the first one, which is here, in m.
        first = np.array([shape.x, shape.y]) + shape.resolution / 2
        shift = (turn @ first + way - first) / shape.resolution
        seen = cv2.warpAffine(
            grid.view(np.uint8),
            np.column_stack([turn, shift]),
            (shape.columns, shape.rows),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_UNKNOWN_BYTE,
        )
        return np.asarray(seen, np.uint8).view(np.int8).reshape(-1)


def _rotation(yaw: float) -> Floats:
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine], [sine, cosine]])
