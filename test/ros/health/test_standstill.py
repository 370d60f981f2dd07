from __future__ import annotations

import pytest

from dcfm_ros.ros.health.standstill import Standstill


def looks(standstill: Standstill, *times: float) -> list[bool]:
    return [standstill.is_silent_after(now) for now in times]


@pytest.mark.parametrize('duration_s', [1.0, 1.5, 3600.0])
def test_silence_after_a_standstill_is_said_four_times(duration_s: float) -> None:
    standstill = Standstill(10.0)
    end = 10.5 + duration_s
    assert looks(standstill, 10.5, end) == [False] * 2
    times = [end + number / 2 for number in range(1, 400)]
    said = [round(now - end, 1) for now in times if standstill.is_silent_after(now)]
    assert said == [1.0, 3.0, 7.0, 15.0]


def test_message_ends_the_silence() -> None:
    standstill = Standstill(10.0)
    assert looks(standstill, 12.0, 12.5, 13.0) == [False, False, True]
    standstill.received(13.1)  # so soon after a new subscription it is no backlog
    assert not any(looks(standstill, *(13.0 + number / 2 for number in range(1, 40))))


def test_what_had_been_waiting_is_no_sign_of_life() -> None:
    standstill = Standstill(10.0)
    assert looks(standstill, 12.0) == [False]
    standstill.received(12.1)
    assert looks(standstill, 12.5, 13.0) == [False, True]


def test_stream_that_goes_on_is_left_alone() -> None:
    standstill = Standstill(10.0)
    assert looks(standstill, 12.0) == [False]
    standstill.received(12.3)
    assert looks(standstill, 12.5, 13.0, 13.5, 14.0) == [False] * 4


def test_silence_without_a_standstill_is_nothing() -> None:
    assert not any(looks(Standstill(10.0), *(10.0 + 0.9 * number for number in range(1, 20))))


def test_second_standstill_begins_the_wait_anew() -> None:
    standstill = Standstill(10.0)
    assert looks(standstill, 12.0, 14.0, 14.5, 15.0) == [False, False, False, True]
