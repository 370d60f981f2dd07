"""Where the base was when a mask was made."""

from __future__ import annotations

from dcfm_ros.ground.places import Places
from dcfm_ros.ground.votes import Place

MS = 1_000_000
SECOND = 1000 * MS


def drive(places: Places, x: float, seconds: int = 4) -> None:
    """A run of odometry at 50 Hz from 1 s on, which stays at x."""
    for number in range(50 * seconds):
        places.add(SECOND + 20 * MS * number, Place(x, 0.0, 0.0))


def test_the_nearest_in_time_is_taken() -> None:
    places = Places()
    for x in range(3):
        places.add(SECOND + 100 * MS * x, Place(x, 0.0, 0.0))
    assert places.at(SECOND + 140 * MS) == (1, 0, 0)
    assert places.at(SECOND + 300 * MS) == (2, 0, 0)
    assert places.at(SECOND + 301 * MS) is None


def test_odometry_of_a_run_before_is_forgotten() -> None:
    places = Places()
    drive(places, x=0.0)
    drive(places, x=50.0, seconds=1)
    assert places.at(SECOND + 500 * MS) == (50, 0, 0)
    assert places.at(SECOND + 3000 * MS) is None


def test_odometry_out_of_order_is_kept() -> None:
    places = Places()
    for stamp_ms in (1000, 1400, 1200, 900):
        places.add(stamp_ms * MS, Place(stamp_ms, 0.0, 0.0))
    assert [places.at(ms * MS) for ms in (1000, 1400)] == [(1000, 0, 0), (1400, 0, 0)]
    assert len(places) == 4


def test_masks_that_start_over_first_have_no_place_of_before() -> None:
    places = Places()
    drive(places, x=0.0)
    places.restart(SECOND)
    assert places.at(SECOND) is None
    drive(places, x=50.0)
    places.restart(SECOND + 4 * SECOND)
    assert places.at(SECOND) == (50, 0, 0)
