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
