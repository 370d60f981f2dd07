"""`GroundTable`: what a mask says of each cell of the ground; no ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.ground.geometry import Floats, Lens, Pose
from dcfm_ros.masks.confidence import is_sure
from dcfm_ros.models.labels import UNLABELLED

FREE, OCCUPIED, UNKNOWN = 0, 100, -1
"""Values of nav_msgs/OccupancyGrid."""
_STEPS_PER_CELL = 2
_OCCUPIED_STEPS = 3
"""A cell and a half: with less, lines at an angle to the rays have holes."""
_MIN_HEIGHT_M = 0.01
GROUND, IGNORED, OBSTACLE = 0, 1, 2
"""What a class is to the grid: free to drive on, of no meaning, or standing on the ground."""


@dataclass(frozen=True, kw_only=True)
class GridShape:
    """Cells on the ground, in the base frame."""

    resolution: float
    """Side of a cell in m."""
    columns: int
    """Number of cells along x (forward)."""
    rows: int
    """Number of cells along y (left)."""
    x: float
    """Of the outer corner of the first cell, in m."""
    y: float

    @classmethod
    def around(cls, resolution: float, ahead: float, behind: float, aside: float) -> GridShape:
        """Cells that cover what lies ahead of, behind and to either side of the base, in m."""
        before, after = round(ahead / resolution), round(behind / resolution)
        side = max(round(aside / resolution), 1)
        return cls(
            resolution=resolution,
            columns=max(before + after, 1),
            rows=2 * side,
            x=-after * resolution,
            y=-side * resolution,
        )

    def centres(self) -> Floats:
        """Middles of all cells, row by row, (rows * columns, 2)."""
        x = self.x + (np.arange(self.columns) + 0.5) * self.resolution
        y = self.y + (np.arange(self.rows) + 0.5) * self.resolution
        grid = np.meshgrid(x, y)
        return np.stack(grid, -1).reshape(-1, 2)


class GroundTable:
    """For one lens, pose and grid: which pixels lie on each ray along the ground.

    The ground is looked at along rays from the point below the camera, one per direction. The
    first obstacle on a ray stands where its lowest pixel meets the ground. Its higher pixels would
    fall on the ground behind it, where nothing is known: the ray ends there.

    Args:
        shape: Of the grid.
        lens: Of the mask.
        pose: Of the camera.
        min_range: Where rays begin, in m from the point below the camera; leaves out the robot.
        max_range: Where they end.
        min_obstacle_height: What is lower, in m, does not end a ray; its cells are unknown.

    Raises:
        ValueError: If the camera is not above the ground, or sees nothing of the grid.
    """

    def __init__(
        self,
        shape: GridShape,
        lens: Lens,
        pose: Pose,
        *,
        min_range: float = 0.0,
        max_range: float = 20.0,
        min_obstacle_height: float = 0.05,
    ) -> None:
        height = float(pose.position[2])
        if not height >= _MIN_HEIGHT_M:
            raise ValueError(f'the camera must be above the ground, got a height of {height:g} m')
        self.shape = shape
        self.size = (lens.height, lens.width)
        """(height, width) of the masks."""
        foot = pose.position[:2]
        step = shape.resolution / _STEPS_PER_CELL
        offsets = shape.centres() - foot
        distances = np.hypot(*offsets.T)
        self._reach = min(max_range, float(distances.max()))
        num_steps = int(self._reach / step) + 1
        ranges = (np.arange(num_steps) + 0.5) * step
        # Directions as dense as the cells at the far end, within what a table may hold.
        num_turns = int(np.clip(2 * np.pi * self._reach / shape.resolution, 360, 8192))
        seen_cell = self._pixel_indices(lens, pose, shape.centres())
        angles = np.arctan2(offsets[:, 1], offsets[:, 0])
        turns = np.round(angles * (num_turns / (2 * np.pi))).astype(np.intp) % num_turns
        is_used = (seen_cell >= 0) & (distances >= min_range) & (distances < num_steps * step)
        used, ray_of = np.unique(turns[is_used], return_inverse=True)
        if not used.size:
            raise ValueError('the camera sees no ground within the grid')
        beams = used * (2 * np.pi / num_turns)
        towards = np.stack([np.cos(beams), np.sin(beams)], -1)
        points = foot + towards[:, None] * ranges[:, None]
        pixels = self._pixel_indices(lens, pose, points.reshape(-1, 2))
        pixels = pixels.reshape(len(used), num_steps)
        pixels[:, ranges < min_range] = -1
        self._pixels = np.maximum(pixels, 0)
        self._is_blank = pixels < 0
        # A thing of height h at d hides the ground up to d H / (H - h).
        rise = max(1 - min_obstacle_height / height, 1e-6)
        self._hides_to = np.minimum(ranges / rise / step, num_steps).astype(np.intp)
        self._hides_to = np.maximum(self._hides_to, np.arange(num_steps) + 1)
        self._cells = np.flatnonzero(is_used)
        self._ray_of = ray_of.reshape(-1)
        self._step_of = (distances[is_used] / step).astype(np.intp)
        self._pixel_of = seen_cell[is_used]

    def grid(self, mask: NDArray[np.uint8], meaning: NDArray[np.uint8]) -> NDArray[np.int8]:
        """What a mask says of the ground.

        Args:
            mask: Class ids, (H, W), of `size`.
            meaning: `GROUND`, `IGNORED` or `OBSTACLE` for each id, (256,).

        Returns:
            `FREE`, `OCCUPIED` or `UNKNOWN` for each cell, (rows, columns): y, then x.
        """
        kinds = meaning[mask].reshape(-1)
        is_obstacle = (kinds == OBSTACLE)[self._pixels] & ~self._is_blank
        first = self._first_obstacles(is_obstacle)
        at, behind = self._step_of, first[self._ray_of]
        is_before = at < behind
        is_free = is_before & (kinds[self._pixel_of] == GROUND)
        is_hit = ~is_before & (at < behind + _OCCUPIED_STEPS)
        cells = np.full(self.shape.rows * self.shape.columns, UNKNOWN, np.int8)
        cells[self._cells] = np.where(is_free, FREE, np.where(is_hit, OCCUPIED, UNKNOWN))
        return cells.reshape(self.shape.rows, self.shape.columns)

    def _first_obstacles(self, is_obstacle: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Step of the first thing of enough height on each ray, or the number of steps."""
        num_rays, num_steps = is_obstacle.shape
        # What is blank ends no thing: it may go on beyond the edge of the image.
        counts = np.zeros((num_rays, num_steps + 1), np.int32)
        np.cumsum(is_obstacle | self._is_blank, axis=1, dtype=np.int32, out=counts[:, 1:])
        steps = np.arange(num_steps)
        is_whole = counts[:, self._hides_to] - counts[:, :-1] == self._hides_to - steps
        is_high = is_obstacle & is_whole
        found = is_high.argmax(1)
        return np.where(is_high.any(1), found, num_steps).astype(np.intp)

    @staticmethod
    def _pixel_indices(lens: Lens, pose: Pose, points: Floats) -> NDArray[np.intp]:
        """Index into the flat mask of points on the ground, (N, 2); -1 where they are not seen."""
        on_ground = np.column_stack([points, np.zeros(len(points))])
        pixels = lens.to_pixels(pose.to_camera(on_ground))
        is_seen = ~np.isnan(pixels[:, 0])
        x, y = np.rint(np.where(is_seen[:, None], pixels, 0)).astype(np.intp).T
        return np.where(is_seen, y * lens.width + x, -1)


def without_doubtful_ground(
    mask: NDArray[np.uint8],
    confidence: NDArray[np.uint8],
    meaning: NDArray[np.uint8],
    min_confidence: float,
) -> NDArray[np.uint8]:
    """A mask whose pixels of ground are unlabelled where the network is not sure of them.

    Obstacles stay, however doubtful: a robot may lose ground to a doubt, not an obstacle.

    Args:
        mask: Class ids, (H, W).
        confidence: 0 to 255, (H, W).
        meaning: `GROUND`, `IGNORED` or `OBSTACLE` for each id, (256,).
        min_confidence: Lowest confidence of ground, in [0, 1].

    Raises:
        ValueError: If mask and confidence differ in size.
    """
    if mask.shape != confidence.shape:
        sizes = [f'{image.shape[1]} x {image.shape[0]}' for image in (mask, confidence)]
        raise ValueError(
            f'`confidence` must have the size of the mask, {sizes[0]}, got {sizes[1]}'
        )
    is_doubtful = (meaning == GROUND)[mask] & ~is_sure(confidence, min_confidence)
    return np.where(is_doubtful, np.uint8(UNLABELLED), mask)
