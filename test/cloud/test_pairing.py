"""Which messages of two streams are pairs, and what becomes of the others."""

from __future__ import annotations

import pytest

from dcfm_ros.cloud.pairing import StampMatcher

MS = 1_000_000


def matcher(difference_ms: int = 20, capacity: int = 10) -> StampMatcher:
    return StampMatcher(difference_ms * MS, capacity)


def test_equal_stamps_are_paired_at_once() -> None:
    pairing = matcher()
    for stamp in (100, 133, 166):
        assert not pairing.add_first(stamp * MS, f'd{stamp}')
    assert pairing.add_second(133 * MS, 'm133') == [('d133', 'm133')]
    assert pairing.lone_firsts == 1


def test_equal_stamp_wins_over_what_comes_first() -> None:
    pairing = matcher()
    assert not pairing.add_second(110 * MS, 'm110')
    assert not pairing.add_first(105 * MS, 'd105')
    assert pairing.add_first(110 * MS, 'd110') == [('d110', 'm110')]


def test_mask_waits_until_the_nearest_is_known() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'd100')
    assert not pairing.add_second(110 * MS, 'm110')
    assert pairing.add_first(113 * MS, 'd113') == [('d113', 'm110')]


def test_earlier_one_is_taken_if_it_is_nearer() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'd100')
    pairing.add_second(105 * MS, 'm105')
    assert pairing.add_first(120 * MS, 'd120') == [('d100', 'm105')]


@pytest.mark.parametrize(('difference', 'pairs'), [(20, [('d120', 'm100')]), (21, [])])
def test_tolerance_is_included(difference: int, pairs: list[tuple[str, str]]) -> None:
    pairing = matcher(difference_ms=20)
    pairing.add_second(100 * MS, 'm100')
    stamp = (100 + difference) * MS
    assert pairing.add_first(stamp, 'd120') == pairs
    assert pairing.lone_seconds == (0 if pairs else 1)


def test_without_tolerance_only_equal_stamps_are_paired() -> None:
    pairing = matcher(difference_ms=0)
    pairing.add_first(100, 'd100')
    assert not pairing.add_second(101, 'm101')
    assert not pairing.add_first(102, 'd102')
    assert pairing.lone_seconds == 1


def test_each_is_used_once() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'd100')
    pairing.add_first(110 * MS, 'd110')
    assert pairing.add_second(101 * MS, 'm101') == [('d100', 'm101')]
    assert pairing.add_second(102 * MS, 'm102') == [('d110', 'm102')]
    assert pairing.add_second(103 * MS, 'm103') == []


def test_several_masks_that_waited_are_decided_by_one_depth_image() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'd100')
    pairing.add_first(133 * MS, 'd133')
    pairing.add_second(135 * MS, 'm135')
    pairing.add_second(168 * MS, 'm168')
    assert pairing.add_first(170 * MS, 'd170') == [('d133', 'm135'), ('d170', 'm168')]


@pytest.mark.parametrize('stream', ['first', 'second'])
def test_what_waits_is_bounded(stream: str) -> None:
    pairing = matcher(capacity=3)
    add = pairing.add_first if stream == 'first' else pairing.add_second
    for stamp in range(1000, 1010):
        add(stamp * 1000 * MS, str(stamp))
    assert pairing.lone_firsts + pairing.lone_seconds == 7


def test_what_waits_is_bounded_where_two_firsts_have_one_stamp() -> None:
    pairing = matcher(capacity=3)
    stamps = [100, 100, *range(133, 1133, 10)]
    for number, stamp in enumerate(stamps):
        pairing.add_first(stamp * MS, number)
    assert pairing.lone_firsts == len(stamps) - 3


def test_spoilt_seconds_are_bounded() -> None:
    pairing = matcher(capacity=3)
    pairing.add_second(50 * MS, 'm50')
    for stamp in range(100, 104):
        assert not pairing.spoil_second(stamp * MS)
    assert pairing.lone_seconds == 1  # it had to make room
    for stamp in (100, 103):
        pairing.add_first(stamp * MS, f'd{stamp}')
    assert pairing.add_second(100 * MS, 'm100') == [('d100', 'm100')]  # which is forgotten by now
    assert pairing.add_second(103 * MS, 'm103') == []


def test_every_second_of_a_spoilt_stamp_is_told() -> None:
    pairing = matcher()
    pairing.add_second(100 * MS, 'a')
    pairing.add_second(100 * MS, 'b')
    assert pairing.spoil_second(100 * MS) == 2


def test_late_first_is_sorted_in() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'd100')
    pairing.add_first(133 * MS, 'd133')
    assert not pairing.add_first(120 * MS, 'd120')
    assert pairing.add_second(133 * MS, 'm133') == [('d133', 'm133')]
    assert pairing.lone_firsts == 2


def test_late_second_is_not_paired_with_what_is_left() -> None:
    pairing = matcher()
    for stamp in (100, 110, 120):
        pairing.add_first(stamp * MS, f'd{stamp}')
    assert pairing.add_second(110 * MS, 'm110') == [('d110', 'm110')]
    assert pairing.add_second(100 * MS, 'm100') == []
    assert (pairing.lone_firsts, pairing.lone_seconds) == (1, 1)
    assert pairing.add_second(120 * MS, 'm120') == [('d120', 'm120')]


def test_first_is_left_to_the_second_that_is_nearer() -> None:
    pairing = matcher()
    assert not pairing.add_second(100 * MS, 'm100')  # its own first is lost
    assert not pairing.add_second(117 * MS, 'm117')
    assert pairing.add_first(116 * MS, 'd116') == []
    assert pairing.add_first(150 * MS, 'd150') == [('d116', 'm117')]
    assert pairing.lone_seconds == 1


def test_spoilt_first_is_paired_with_nothing_and_spares_the_others() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'd100')
    pairing.add_first(110 * MS, 'd110')
    assert pairing.spoil_first(100 * MS)
    assert not pairing.spoil_first(100 * MS)
    assert not pairing.spoil_first(105 * MS)
    assert pairing.add_second(100 * MS, 'm100') == []
    assert pairing.add_second(110 * MS, 'm110') == [('d110', 'm110')]
    assert (pairing.lone_firsts, pairing.lone_seconds) == (0, 1)


def test_spoilt_second_is_taken_back() -> None:
    pairing = matcher()
    pairing.add_second(100 * MS, 'm100')
    assert pairing.spoil_second(100 * MS)
    assert not pairing.spoil_second(100 * MS)
    assert pairing.add_first(100 * MS, 'd100') == []


def test_restart_gives_up_what_is_later() -> None:
    pairing = matcher()
    pairing.add_first(900 * MS, 'd900')
    pairing.add_second(910 * MS, 'm910')
    pairing.restart_firsts(100 * MS)
    assert (pairing.lone_firsts, pairing.lone_seconds) == (1, 1)
    pairing.add_first(100 * MS, 'd100')
    assert pairing.add_second(100 * MS, 'm100') == [('d100', 'm100')]
