"""The ground from masks: geometry, single scenes, and the synthetic drive."""

from __future__ import annotations

import math
from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray
from plan_view import free_space_iou
import pytest

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.ground.geometry import Lens, Pose
from dcfm_ros.ground.grid import (
    FREE,
    GROUND,
    IGNORED,
    OBSTACLE,
    OCCUPIED,
    UNKNOWN,
    GridShape,
    GroundTable,
    without_doubtful_ground,
)
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.network import load_network

ROAD_ID, BOX_ID, SKY_ID = 0, 1, 2
MEANING = np.full(256, OBSTACLE, np.uint8)
MEANING[[ROAD_ID, SKY_ID, 255]] = GROUND, IGNORED, IGNORED
MATRIX = np.array([[300.0, 0, 159.5], [0, 300, 119.5], [0, 0, 1]])
LENS = Lens(320, 240, MATRIX, np.zeros(0))
SHAPE = GridShape.around(0.1, ahead=8.0, behind=0.0, aside=4.0)
LEVEL = Pose.mounted(0, 0, 1.0, 0, 0, 0)


def info(**fields: object) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    known = {'width': 320, 'height': 240, 'd': [], 'distortion_model': 'plumb_bob', 'roi': roi}
    known |= {'k': MATRIX.ravel().tolist(), 'p': [0.0] * 12, 'binning_x': 0, 'binning_y': 0}
    return SimpleNamespace(**(known | fields))


def show(
    boxes: list[tuple[float, float, float, float]], pose: Pose = LEVEL, lens: Lens = LENS
) -> NDArray[np.uint8]:
    """A mask of a road with boards across it: (x, y from, y to, height) in m."""
    mask = np.full((lens.height, lens.width), ROAD_ID, np.uint8)
    horizon = lens.to_pixels(pose.to_camera(np.array([[1e5, 0.0, 0.0]])))[0, 1]
    mask[: math.ceil(horizon)] = SKY_ID
    for x, first, last, height in boxes:
        corners = [[x, first, 0], [x, last, 0], [x, last, height], [x, first, height]]
        seen = pose.to_camera(np.array(corners))
        pixels = seen[:, :2] / seen[:, 2:] @ lens.matrix[:2, :2].T + lens.matrix[:2, 2]
        cv2.fillPoly(mask, [np.rint(pixels).astype(np.int32)], BOX_ID)
    return mask


def at(grid: NDArray[np.int8], x: float, y: float) -> int:
    column, row = (x - SHAPE.x) / SHAPE.resolution, (y - SHAPE.y) / SHAPE.resolution
    return int(grid[int(row), int(column)])


def test_a_board_is_occupied_before_it_is_free_and_behind_it_nothing_is_known() -> None:
    grid = GroundTable(SHAPE, LENS, LEVEL).grid(show([(5.0, -0.5, 0.5, 0.4)]), MEANING)
    assert [at(grid, x, 0.0) for x in (3.05, 4.75)] == [FREE, FREE]
    assert OCCUPIED in {at(grid, x, 0.0) for x in (4.95, 5.05)}
    # A board of .4 m seen from 1 m hides the ground up to 8.3 m, but its pixels end there.
    assert {at(grid, x, 0.0) for x in np.arange(5.25, 8.0, 0.1)} == {UNKNOWN}
    assert at(grid, 7.05, 1.5) == FREE
    assert {at(grid, 5.05, y) for y in (-0.7, 0.7)} == {FREE}


def test_what_the_camera_does_not_see_is_unknown() -> None:
    grid = GroundTable(SHAPE, LENS, LEVEL).grid(show([]), MEANING)
    # The lowest row of the image shows the ground at 300 / 120 m.
    assert {at(grid, x, 0.0) for x in (0.05, 1.05, 2.35)} == {UNKNOWN}
    assert at(grid, 2.65, 0.0) == FREE
    # The outermost column is at 160 / 300 of the distance.
    assert [at(grid, 6.05, 6 * side) for side in (-0.5, 0.5)] == [FREE, FREE]
    assert [at(grid, 6.05, 6 * side) for side in (-0.6, 0.6)] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    'pose',
    [
        Pose.mounted(0, 0, 1.0, 0, 0.2, 0),
        Pose.mounted(0, 0, 1.0, 0.15, 0.1, 0),
        Pose.mounted(-0.5, 0.3, 1.4, -0.1, 0.25, 0.2),
    ],
)
def test_a_board_stands_where_it_stands_however_the_camera_is_mounted(pose: Pose) -> None:
    grid = GroundTable(SHAPE, LENS, pose).grid(show([(5.0, -0.5, 0.5, 0.4)], pose), MEANING)
    y, x = np.nonzero(grid == OCCUPIED)
    place = np.stack([x, y], 1) * SHAPE.resolution + (SHAPE.x, SHAPE.y)
    assert np.abs(place[:, 0] - 5.0).max() < 0.25
    assert place[:, 1].min() == pytest.approx(-0.5, abs=0.2)
    assert place[:, 1].max() == pytest.approx(0.4, abs=0.2)


def test_an_occupied_line_has_no_holes_far_away() -> None:
    grid = GroundTable(SHAPE, LENS, LEVEL).grid(show([(7.5, -3.0, 3.0, 0.6)]), MEANING)
    assert (grid == OCCUPIED).any(1)[12:68].all()


def test_nothing_is_free_behind_the_occupied_cells_of_a_ray() -> None:
    mask = np.random.default_rng(0).choice([ROAD_ID, BOX_ID], (240, 320), p=[0.99, 0.01])
    table = GroundTable(SHAPE, LENS, LEVEL, min_obstacle_height=0.0)
    grid = table.grid(mask.astype(np.uint8), MEANING)
    distance = np.hypot(*SHAPE.centres().T)
    angle = np.rint(np.arctan2(*SHAPE.centres().T[::-1]) * 150)
    cells = grid.reshape(-1)
    assert (cells == OCCUPIED).sum() > 20
    for beam in np.unique(angle[cells == OCCUPIED]):
        on_beam = angle == beam
        farthest = distance[on_beam & (cells == OCCUPIED)].max()
        assert not (cells[on_beam & (distance > farthest + 1.0)] == OCCUPIED).any()


def test_what_is_lower_than_the_limit_ends_no_ray() -> None:
    mask = show([(5.0, -0.5, 0.5, 0.08)])
    low = GroundTable(SHAPE, LENS, LEVEL, min_obstacle_height=0.15).grid(mask, MEANING)
    assert not (low == OCCUPIED).any()
    assert at(low, 5.25, 0.0) == UNKNOWN
    assert at(low, 6.55, 0.0) == FREE
    high = GroundTable(SHAPE, LENS, LEVEL, min_obstacle_height=0.04).grid(mask, MEANING)
    assert (high == OCCUPIED).any()
    assert at(high, 6.55, 0.0) == UNKNOWN


def test_min_range_leaves_out_the_robot_itself() -> None:
    mask = show([])
    mask[-30:] = BOX_ID
    blocked = GroundTable(SHAPE, LENS, LEVEL).grid(mask, MEANING)
    assert not (blocked == FREE).any()
    assert at(blocked, 2.55, 0.0) == OCCUPIED  # its foot is below the lower edge
    table = GroundTable(SHAPE, LENS, LEVEL, min_range=3.5)
    assert at(table.grid(mask, MEANING), 4.05, 0.0) == FREE


def test_unlabelled_pixels_make_unknown_cells_and_hide_nothing() -> None:
    mask = show([])
    mask[160:170] = 255
    grid = GroundTable(SHAPE, LENS, LEVEL).grid(mask, MEANING)
    unknown = at(grid, 300 / 45, 0.0)
    assert unknown == UNKNOWN
    assert at(grid, 7.95, 0.0) == FREE
    assert not (grid == OCCUPIED).any()


def test_ground_that_is_doubtful_is_unknown_and_an_obstacle_stays() -> None:
    mask = show([(5.0, -0.5, 0.5, 0.4)])
    confidence = np.full(mask.shape, 200, np.uint8)
    confidence[:, :160] = 100  # all of the left half, half of the board, too
    table = GroundTable(SHAPE, LENS, LEVEL)
    sure = without_doubtful_ground(mask, confidence, MEANING, 0.5)
    before, grid = table.grid(mask, MEANING), table.grid(sure, MEANING)
    assert [at(before, 4.05, y) for y in (1.0, -1.0)] == [FREE, FREE]
    assert [at(grid, 4.05, y) for y in (1.0, -1.0)] == [UNKNOWN, FREE]
    assert ((grid == OCCUPIED) == (before == OCCUPIED)).all()
    assert not ((grid == FREE) & (before != FREE)).any()
    assert (without_doubtful_ground(mask, confidence, MEANING, 100 / 255) == mask).all()


def test_confidence_of_another_size_is_refused() -> None:
    told = '`confidence` must have the size of the mask, 320 x 240, got 160 x 240'
    with pytest.raises(ValueError, match=told):
        without_doubtful_ground(show([]), np.zeros((240, 160), np.uint8), MEANING, 0.5)


@pytest.mark.parametrize(
    ('model', 'distortion'),
    [
        ('plumb_bob', [-0.3, 0.1, 0.001, -0.001, 0.0]),
        ('rational_polynomial', [0.4, 0.1, 0.0, 0.0, 0.01, 0.7, 0.2, 0.02]),
        ('equidistant', [0.05, -0.01, 0.0, 0.0]),
    ],
)
def test_a_distorted_mask_gives_the_grid_of_the_rectified_one(
    model: str, distortion: list[float]
) -> None:
    flat = show([(5.0, -0.5, 0.5, 0.4)])
    x, y = np.meshgrid(np.arange(320.0), np.arange(240.0))
    pixels = np.stack([x, y], -1).reshape(-1, 1, 2)
    coefficients = np.array(distortion)
    if model == 'equidistant':
        rays = cv2.fisheye.undistortPoints(pixels, MATRIX, coefficients, P=MATRIX)
    else:
        rays = cv2.undistortPoints(pixels, MATRIX, coefficients, P=MATRIX)
    source = np.asarray(rays, np.float32).reshape(240, 320, 2)
    bent = cv2.remap(
        flat, source[..., 0], source[..., 1], cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 255
    )
    lens = Lens.of(info(d=distortion, distortion_model=model), 320, 240, is_rectified=False)
    grids = [
        GroundTable(SHAPE, LENS, LEVEL).grid(flat, MEANING),
        GroundTable(SHAPE, lens, LEVEL).grid(np.asarray(bent, np.uint8), MEANING),
    ]
    known = (grids[0] != UNKNOWN) & (grids[1] != UNKNOWN)
    assert known.sum() > 500
    assert (grids[0] == grids[1])[known].mean() > 0.98


def test_the_lens_is_scaled_to_the_mask() -> None:
    half = Lens.of(info(width=640, height=480), 320, 240, is_rectified=False)
    assert half.matrix[0].tolist() == [150.0, 0.0, 79.75]


def test_rectified_masks_take_p_and_others_k() -> None:
    p = [200.0, 0, 100, 0, 0, 200, 90, 0, 0, 0, 1, 0]
    given = info(p=p, d=[0.1, 0, 0, 0, 0])
    rectified = Lens.of(given, 320, 240, is_rectified=True)
    assert (rectified.matrix[0, 0], rectified.distortion.size) == (200.0, 0)
    raw = Lens.of(given, 320, 240, is_rectified=False)
    assert (raw.matrix[0, 0], raw.distortion.size) == (300.0, 5)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'width': 400}, 'aspect ratio of the mask, 320 x 240, got 400 x 240$'),
        ({'k': [0.0] * 9}, 'focal lengths above 0, got fx 0.0, fy 0.0'),
        ({'width': 0}, 'must have a size, got 0 x 240'),
        ({'d': [0.1] * 3}, 'distortion of plumb_bob, .*, got plumb_bob with 3'),
        ({'d': [0.1] * 5, 'distortion_model': 'kite'}, 'got kite with 5 coefficients'),
    ],
)
def test_a_calibration_that_cannot_be_used_is_refused(
    fields: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Lens.of(info(**fields), 320, 240, is_rectified=False)


def test_a_camera_below_the_ground_or_that_sees_none_is_refused() -> None:
    with pytest.raises(ValueError, match='above the ground, got a height of -1 m'):
        GroundTable(SHAPE, LENS, Pose.mounted(0, 0, -1, 0, 0, 0))
    with pytest.raises(ValueError, match='sees no ground within the grid'):
        GroundTable(SHAPE, LENS, Pose.mounted(0, 0, 1, 0, -1.0, 0))


def test_a_pose_from_tf_is_that_of_the_mount() -> None:
    # A level optical frame: the usual rpy -pi/2, 0, -pi/2 of a URDF.
    turn = SimpleNamespace(x=-0.5, y=0.5, z=-0.5, w=0.5)
    place = SimpleNamespace(x=0.2, y=0.0, z=1.0)
    pose = Pose.from_transform(SimpleNamespace(translation=place, rotation=turn))
    assert np.allclose(pose.rotation, Pose.mounted(0.2, 0, 1, 0, 0, 0).rotation)
    assert pose.position.tolist() == [0.2, 0.0, 1.0]
    zero = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=0.0)
    with pytest.raises(ValueError, match='unit quaternion, got 0, 0, 0, 0'):
        Pose.from_transform(SimpleNamespace(translation=place, rotation=zero))


def test_positive_pitch_looks_down_and_positive_yaw_to_the_left() -> None:
    ahead = np.array([0.0, 0, 1])
    assert (Pose.mounted(0, 0, 1, 0, 0.3, 0).rotation @ ahead)[2] < 0
    assert (Pose.mounted(0, 0, 1, 0, 0, 0.3).rotation @ ahead)[1] > 0


def test_free_space_of_the_synthetic_drive_is_that_of_its_plan() -> None:
    within_8_m, beyond = free_space_iou(
        lambda rgb, mask: mask, seeds=range(4), frames=(0, 45), bands=[(0, 8), (8, 12)]
    )
    assert within_8_m >= 0.9
    assert beyond >= 0.8


def test_free_space_by_the_packaged_network_is_nearly_as_good() -> None:
    how = EngineOptions(device='cpu')
    network = load_network(find_checkpoint('default'), how)

    def segment(rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return SegmentationEngine(network, how).step(rgb, stamp_ns=1).mask

    seeds, frames = (100, 103), (0, 60)
    (by_network,) = free_space_iou(segment, seeds=seeds, frames=frames, bands=[(0, 8)])
    (by_truth,) = free_space_iou(
        lambda rgb, mask: mask, seeds=seeds, frames=frames, bands=[(0, 8)]
    )
    assert by_truth - 0.05 <= by_network < by_truth + 0.02
