from __future__ import annotations

import math

import pytest

from dcfm_ros.ros.health.deadline import ProcessingDeadline
from dcfm_ros.ros.health.status import Level, Status

ALLOWED_MS, CONSECUTIVE_MS = 100.0, 500.0


def worked(deadline: ProcessingDeadline, *took_ms: float, allowed_ms: float = ALLOWED_MS) -> None:
    """Frames that took so long each, at whatever time."""
    for took in took_ms:
        deadline.begin(10.0)
        deadline.end(10.0 + took / 1e3, allowed_ms)


def check(
    deadline: ProcessingDeadline,
    now: float = 20.0,
    allowed_ms: float = ALLOWED_MS,
    consecutive_ms: float = CONSECUTIVE_MS,
) -> Status:
    return deadline.check(now, allowed_ms, consecutive_ms)


def took_ms(status: Status) -> float:
    return float(status.values['processing_time_ms'])


def late_ms(status: Status) -> float:
    return float(status.values['consecutive_processing_delay_ms'])


def test_no_frame_is_in_time() -> None:
    status = check(ProcessingDeadline())
    assert (status.task, status.level, status.message) == (
        'processing_time',
        Level.OK,
        'no frame yet',
    )
    assert math.isnan(took_ms(status))


@pytest.mark.parametrize(
    ('took', 'level'), [(99.0, Level.OK), (100.1, Level.WARN), (500.1, Level.ERROR)]
)
def test_level_of_one_frame(took: float, level: Level) -> None:
    deadline = ProcessingDeadline()
    worked(deadline, took)
    status = check(deadline)
    assert status.level == level
    assert took_ms(status) == pytest.approx(took, abs=0.01)


def test_late_frame_is_told_with_what_is_allowed() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 130.0)
    assert check(deadline).message == 'a frame took 130.0 ms, allowed are 100.0 ms each'


def test_values_have_the_names_of_autoware() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 300.0, 300.0)
    status = check(deadline)
    assert status.values == {
        'is_processing_time_ms_in_expected_range': 'False',
        'processing_time_ms': '300.00',
        'is_consecutive_processing_delay_in_range': 'False',
        'consecutive_processing_delay_ms': '600.00',
    }
    assert status.message == (
        'frames in a row were late for 600 ms, allowed are 100.0 ms each and 500 ms in a row'
    )


def test_late_frames_in_a_row_become_an_error() -> None:
    deadline = ProcessingDeadline()
    levels = []
    for _ in range(4):
        worked(deadline, 200.0)
        levels.append(check(deadline).level)
    assert levels == [Level.WARN, Level.WARN, Level.ERROR, Level.ERROR]


def test_frame_in_time_ends_the_row() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 200.0, 200.0, 50.0, 200.0)
    status = check(deadline)
    assert (status.level, late_ms(status)) == (Level.WARN, 200.0)


def test_pause_between_two_late_frames_is_no_delay() -> None:
    deadline = ProcessingDeadline()
    for start in (0.0, 600.0):
        deadline.begin(start)
        deadline.end(start + 0.2, ALLOWED_MS)
    assert late_ms(check(deadline, 601.0)) == pytest.approx(400.0)


def test_pause_after_a_late_frame_is_no_delay() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 200.0)
    assert late_ms(check(deadline, 3600.0)) == pytest.approx(200.0)


def test_no_late_frame_between_two_checks_goes_untold() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 150.0, 20.0, 20.0)
    status = check(deadline)
    assert (status.level, took_ms(status), late_ms(status)) == (Level.WARN, 150.0, 0.0)


def test_late_frame_is_forgotten_by_the_next_check() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 150.0)
    check(deadline)
    worked(deadline, 20.0)
    assert (check(deadline).level, took_ms(check(deadline))) == (Level.OK, 20.0)


def test_last_frame_counts_until_another_one_comes() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 150.0)
    assert [took_ms(check(deadline)) for _ in range(3)] == [150.0] * 3


def test_frame_under_way_is_late_as_soon_as_its_time_is_up() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 20.0)
    deadline.begin(30.0)
    found = [check(deadline, now) for now in (30.05, 30.2, 30.6)]
    assert [status.level for status in found] == [Level.OK, Level.WARN, Level.ERROR]
    assert [took_ms(status) for status in found] == pytest.approx([20.0, 200.0, 600.0])


def test_nothing_is_late_without_a_limit() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 9000.0, allowed_ms=0.0)
    status = check(deadline, allowed_ms=0.0)
    assert (status.level, took_ms(status), late_ms(status)) == (Level.OK, 9000.0, 0.0)


def test_no_row_is_too_long_without_a_limit_for_it() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 9000.0)
    assert check(deadline, consecutive_ms=0.0).level == Level.WARN


def test_limit_that_is_raised_forgives_the_frames_before() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 300.0, 300.0)
    assert check(deadline, allowed_ms=400.0).level == Level.OK


def test_restart_forgets_all() -> None:
    deadline = ProcessingDeadline()
    worked(deadline, 9000.0)
    deadline.begin(30.0)
    deadline.restart()
    status = check(deadline, 60.0)
    assert (status.message, late_ms(status)) == ('no frame yet', 0.0)
