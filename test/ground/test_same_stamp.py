"""Masks and confidences of one stamp find each other."""

from __future__ import annotations

import pytest

from dcfm_ros.ground.same_stamp import SameStamp


def test_the_one_that_comes_later_completes_the_pair() -> None:
    pairs = SameStamp(3)
    assert pairs.add_first(10, 'mask') is None
    assert pairs.add_second(10, 'confidence') == ('mask', 'confidence')
    assert pairs.add_second(20, 'confidence') is None
    assert pairs.add_first(20, 'mask') == ('mask', 'confidence')
    assert pairs.lone_firsts == 0


def test_each_is_used_once() -> None:
    pairs = SameStamp(3)
    pairs.add_first(10, 'a')
    pairs.add_second(10, 'b')
    assert pairs.add_second(10, 'c') is None
    assert pairs.add_first(10, 'd') is None
    assert pairs.lone_firsts == 1


@pytest.mark.parametrize('capacity', [1, 3])
def test_the_oldest_is_given_up_and_counted(capacity: int) -> None:
    pairs = SameStamp(capacity)
    for stamp in range(1, 6):
        pairs.add_first(stamp, stamp)
        pairs.add_second(100 + stamp, stamp)
    assert pairs.lone_firsts == 5 - capacity
    assert pairs.add_second(5 - capacity, 'late') is None
    assert pairs.add_second(5, 'in time') == (5, 'in time')


def test_a_bag_that_starts_over_goes_on_at_once() -> None:
    pairs = SameStamp(2)
    for stamp in (10, 20, 10, 20):
        pairs.add_first(stamp, 'mask')
        assert pairs.add_second(stamp, 'confidence') == ('mask', 'confidence')
    assert pairs.lone_firsts == 0


def test_stamp_that_was_never_set_joins_nothing() -> None:
    pairs = SameStamp(2)
    for _ in range(3):
        assert pairs.add_first(0, 'mask') is None
        assert pairs.add_second(0, 'confidence') is None
    assert pairs.lone_firsts == 3


@pytest.mark.parametrize('twice', ['first', 'second'])
def test_stamp_that_comes_twice_joins_nothing(twice: str) -> None:
    pairs = SameStamp(2)
    for name in {'first': 'ffs', 'second': 'ssf'}[twice]:
        add = pairs.add_first if name == 'f' else pairs.add_second
        assert add(7, name) is None
    pairs.add_first(8, 'next')
    assert pairs.add_second(8, 'one') == ('next', 'one')
    assert pairs.lone_firsts == (2 if twice == 'first' else 0)
