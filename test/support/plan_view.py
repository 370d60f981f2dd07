"""The synthetic drive from above: what a grid of its ground ought to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.ground.geometry import Lens, Pose
from dcfm_ros.ground.grid import FREE, GROUND, IGNORED, OBSTACLE, GridShape, GroundTable
from dcfm_ros.synthetic.camera import UP, Camera, Floats, Light
from dcfm_ros.synthetic.canvas import Canvas, Capsules, Panel
from dcfm_ros.synthetic.drive import DriveConfig, SyntheticDrive
from dcfm_ros.synthetic.solids import PAVEMENT, ROAD, SKY

_ABOVE_M = 300.0  # so that things 2 m high lean by less than 1 %
_HEADROOM_M = 2.5
_LIGHT = Light(UP, 1.0, 0.0, np.zeros(3), 1e9)


class PlanCanvas(Canvas):
    """Leaves out what hangs over the ground: crowns of trees, roofs, arms of lamps."""

    def panel(self, panel: Panel) -> None:
        if panel.corners[:, 1].min() < 0.3:
            super().panel(panel)

    def capsules(self, capsules: Capsules) -> None:
        stands = capsules.ends[..., 1].min(1) < _HEADROOM_M
        kept = [capsules.ends[stands], capsules.radii[stands], capsules.colours[stands]]
        super().capsules(Capsules(*kept, capsules.label))


def base_axes(camera: Camera) -> Floats:
    """Forward, left and up of a base below the camera, in the world, (3, 3)."""
    forward = camera.rotation[2] * (1, 0, 1)
    forward /= np.linalg.norm(forward)
    return np.array([forward, [-forward[2], 0, forward[0]], UP])


def pose_of(camera: Camera) -> Pose:
    height = np.array([0.0, 0.0, camera.centre[1]])
    return Pose(base_axes(camera) @ camera.rotation.T, height)


def lens_of(camera: Camera, mask: NDArray[np.uint8]) -> Lens:
    f, cx, cy = camera.focal_px, camera.cx, camera.cy
    matrix = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])
    return Lens(mask.shape[1], mask.shape[0], matrix, np.zeros(0))


def plan_of(drive: SyntheticDrive, index: int, shape: GridShape) -> NDArray[np.uint8]:
    """Classes of what stands on, or is, the ground around frame `index`, (rows, columns)."""
    camera = drive.camera(index)
    forward, left, up = base_axes(camera)
    foot = camera.centre * (1, 0, 1)
    cx, cy = -shape.y / shape.resolution - 0.5, -shape.x / shape.resolution - 0.5
    above = Camera(
        np.array([left, forward, -up]), foot + up * _ABOVE_M, _ABOVE_M / shape.resolution, cx, cy
    )
    canvas = PlanCanvas(above, _LIGHT, shape.columns, shape.rows)
    drive.paint(canvas, index)
    return canvas.mask.T


def visible_free(
    plan: NDArray[np.uint8], camera: Camera, mask: NDArray[np.uint8], shape: GridShape
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Free cells that nothing hides, and all cells in the field of view, (rows, columns)."""
    is_free = np.isin(plan, (ROAD, PAVEMENT))
    centres = shape.centres()
    is_hidden = np.zeros(len(centres), bool)
    for share in np.linspace(0, 1, 800):
        column, row = np.floor((centres * share - (shape.x, shape.y)) / shape.resolution).T
        is_inside = (column >= 0) & (row >= 0)
        rows, columns = row[is_inside].astype(int), column[is_inside].astype(int)
        is_hidden[is_inside] |= ~is_free[rows, columns]
    forward, left, _ = base_axes(camera)
    points = camera.centre * (1, 0, 1) + centres @ np.array([forward, left])
    seen = camera.to_camera(points)
    pixels = camera.to_pixels(np.where(seen[:, 2:] > 0.1, seen, np.nan))
    height, width = mask.shape
    limits = np.array([width, height]) - 0.5
    in_view = ((pixels > -0.5) & (pixels < limits)).all(1)
    is_clear = is_free & ~is_hidden.reshape(plan.shape)
    return is_clear & in_view.reshape(plan.shape), in_view.reshape(plan.shape)


SegmentFrame = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]
"""From the image and its true mask to the mask to use."""


def free_space_iou(
    segment: SegmentFrame,
    *,
    seeds: Iterable[int],
    frames: Sequence[int],
    bands: Sequence[tuple[float, float]],
) -> list[float]:
    """IoU of the grid's free cells with the plan's, for bands of distance (from, to) in m.

    Over all cells in the field of view; what something hides is not free.
    """
    shape = GridShape.around(0.05, ahead=16.0, behind=0.0, aside=8.0)
    meaning = np.full(256, OBSTACLE, np.uint8)
    meaning[[ROAD, PAVEMENT, SKY, 255]] = GROUND, GROUND, IGNORED, IGNORED
    distance = np.hypot(*shape.centres().T).reshape(shape.rows, -1)
    both, either = np.zeros(len(bands)), np.zeros(len(bands))
    for seed in seeds:
        drive = SyntheticDrive(DriveConfig(seed=seed, height=480, width=640))
        for index in frames:
            rgb, mask = drive.render(index)
            camera, plan = drive.camera(index), plan_of(drive, index, shape)
            truth, in_view = visible_free(plan, camera, mask, shape)
            table = GroundTable(shape, lens_of(camera, mask), pose_of(camera))
            is_free = table.grid(segment(rgb, mask), meaning) == FREE
            for band, (near, far) in enumerate(bands):
                is_asked = in_view & (distance >= near) & (distance < far)
                both[band] += (is_free & truth)[is_asked].sum()
                either[band] += (is_free | truth)[is_asked].sum()
    return (both / either).tolist()
