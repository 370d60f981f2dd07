"""Grids vote, moved to where the base is."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.ground.grid import FREE, OCCUPIED, UNKNOWN, GridShape
from dcfm_ros.ground.votes import GroundVotes, Place

SHAPE = GridShape.around(0.5, ahead=4.0, behind=4.0, aside=4.0)
HERE = Place(0, 0, 0)


def grid(value: int = UNKNOWN) -> NDArray[np.int8]:
    return np.full((SHAPE.rows, SHAPE.columns), value, np.int8)


def test_the_majority_decides_and_a_tie_is_occupied() -> None:
    votes = GroundVotes(SHAPE, 3)
    assert (votes.add(grid(FREE), HERE) == FREE).all()
    assert (votes.add(grid(OCCUPIED), HERE) == OCCUPIED).all()
    assert (votes.add(grid(FREE), HERE) == FREE).all()
    assert (votes.add(grid(OCCUPIED), HERE) == OCCUPIED).all()


def test_unknown_cells_have_no_vote() -> None:
    votes = GroundVotes(SHAPE, 3)
    assert (votes.add(grid(), HERE) == UNKNOWN).all()
    votes.add(grid(FREE), HERE)
    assert (votes.add(grid(), HERE) == FREE).all()
    votes.clear()
    assert (votes.add(grid(), HERE) == UNKNOWN).all()


def test_former_grids_stay_where_they_were_seen() -> None:
    votes = GroundVotes(SHAPE, 2)
    seen = grid()
    seen[8, 14] = OCCUPIED  # the middle is at x 3.25, y .25
    start = Place(10.0, -3.0, 0.0)
    votes.add(seen, start)
    ahead = votes.add(grid(), Place(12.0, -3.0, 0.0))
    assert np.argwhere(ahead == OCCUPIED).tolist() == [[8, 10]]


def test_former_grids_turn_against_the_base() -> None:
    votes = GroundVotes(SHAPE, 2)
    seen = grid()
    seen[8, 14] = OCCUPIED
    votes.add(seen, HERE)
    # After a left turn, what was ahead and a little to the left is to the right, a little ahead.
    turned = votes.add(grid(), Place(0, 0, math.pi / 2))
    assert np.argwhere(turned == OCCUPIED).tolist() == [[1, 8]]


def test_what_has_left_the_grid_is_forgotten() -> None:
    votes = GroundVotes(SHAPE, 2)
    votes.add(grid(FREE), HERE)
    moved = votes.add(grid(), Place(5.0, 0, 0))
    assert (moved[:, 6:] == UNKNOWN).all()
    assert (moved[:, :6] == FREE).all()


def test_any_way_and_turn_finds_the_cell_that_was_seen() -> None:
    """Places of the ground, followed by hand through both frames."""
    rng = np.random.default_rng(0)
    seen = rng.choice(np.array([FREE, OCCUPIED, UNKNOWN], np.int8), (SHAPE.rows, SHAPE.columns))
    for _ in range(20):
        then, now = (Place(*rng.uniform(-1, 1, 2), rng.uniform(-3, 3)) for _ in range(2))
        votes = GroundVotes(SHAPE, 2)
        votes.add(seen, then)
        moved = votes.add(grid(), now)
        point = complex(now.x, now.y) + SHAPE.centres() @ (1, 1j) * np.exp(1j * now.yaw)
        before = (point - complex(then.x, then.y)) * np.exp(-1j * then.yaw)
        column, row = (before.real - SHAPE.x) / 0.5, (before.imag - SHAPE.y) / 0.5
        edges = np.abs(np.stack([column, row]) - np.rint([column, row])).min(0)
        inside = (column > 0) & (column < SHAPE.columns) & (row > 0) & (row < SHAPE.rows)
        is_clear = inside & (edges > 0.01)  # rounding decides the others
        expected = seen[row[is_clear].astype(int), column[is_clear].astype(int)]
        assert is_clear.sum() > 100
        assert (moved.reshape(-1)[is_clear] == expected).all()
        assert (moved.reshape(-1)[~inside & (edges > 0.01)] == UNKNOWN).all()
