"""Which stamps tell the messages of a stream apart."""

from __future__ import annotations

from dcfm_ros.cloud.stamps import Stamp, StampGate

MS = 1_000_000


def judge(*stamps_ms: int, capacity: int = 10) -> list[Stamp]:
    gate = StampGate(capacity)
    return [gate.judge(stamp * MS) for stamp in stamps_ms]


def test_stamps_that_grow_or_are_slightly_out_of_order_are_good() -> None:
    assert judge(100, 133, 199, 166, 232) == [Stamp.GOOD] * 5


def test_zero_is_never_good() -> None:
    assert judge(0, 0, 100, 0) == [Stamp.ZERO, Stamp.ZERO, Stamp.GOOD, Stamp.ZERO]


def test_stamp_of_one_of_the_last_messages_is_repeated() -> None:
    assert judge(100, 133, 100, 133) == [Stamp.GOOD] * 2 + [Stamp.REPEATED] * 2


def test_half_a_second_back_is_reordering_and_more_a_restart() -> None:
    assert judge(1000, 500) == [Stamp.GOOD, Stamp.GOOD]
    assert judge(1000, 499, 1000) == [Stamp.GOOD, Stamp.RESTARTED, Stamp.GOOD]


def test_one_stamp_of_the_future_does_not_end_the_stream() -> None:
    verdicts = judge(100, 10**9, 133, 166)
    assert verdicts == [Stamp.GOOD, Stamp.GOOD, Stamp.RESTARTED, Stamp.GOOD]


def test_memory_is_bounded() -> None:
    assert judge(100, 133, 166, 100, capacity=2) == [Stamp.GOOD] * 4
