from __future__ import annotations

import pytest

from dcfm_ros.ros.health.running_clock import RunningClock


def check_every_second(
    clock: RunningClock, times_ns: list[int], start: float = 0.0
) -> list[float]:
    return [clock.running_s(time_ns, start + i) for i, time_ns in enumerate(times_ns, start=1)]


def test_clock_that_moves_has_been_running_since_the_start() -> None:
    assert check_every_second(RunningClock(0.0), [10, 11, 12]) == [1.0, 2.0, 3.0]


def test_clock_that_does_not_move_stands() -> None:
    assert check_every_second(RunningClock(0.0), [10, 10, 10]) == [1.0, 0.0, 0.0]


def test_clock_that_goes_on_has_been_running_since_it_stood_last() -> None:
    assert check_every_second(RunningClock(0.0), [10, 10, 10, 11, 12]) == [1, 0, 0, 1, 2]


def test_clock_that_jumps_back_runs() -> None:
    assert check_every_second(RunningClock(0.0), [10, 11, 1, 2]) == [1, 2, 3, 4]


def test_checks_closer_than_the_messages_of_the_clock_do_not_find_it_standing() -> None:
    clock = RunningClock(0.0)
    found = [clock.running_s(time_ns, 0.3 * i) for i, time_ns in enumerate([10, 10, 11, 11, 12])]
    assert found == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.2])


def test_simulated_time_that_never_comes_is_no_pause() -> None:
    assert check_every_second(RunningClock(0.0), [0, 0, 0]) == [1, 2, 3]
