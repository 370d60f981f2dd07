"""Which depth image goes with which mask, and what becomes of the others."""

from __future__ import annotations

import pytest

from dcfm_ros.cloud.matching import CloudMatcher, StampMatcher

MS = 1_000_000


def matcher(difference_ms: int = 20, capacity: int = 10) -> StampMatcher:
    return StampMatcher(difference_ms * MS, capacity)


def clouds(*companions: str) -> CloudMatcher:
    return CloudMatcher(companions, max_difference_ns=20 * MS, capacity=10)


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


def test_bag_that_starts_again_gives_up_what_waits_and_goes_on() -> None:
    pairing = matcher()
    pairing.add_first(900 * MS, 'd900')
    pairing.add_second(910 * MS, 'm910')
    assert not pairing.add_first(100 * MS, 'd100')
    assert (pairing.lone_firsts, pairing.lone_seconds) == (1, 1)
    assert pairing.add_second(100 * MS, 'm100') == [('d100', 'm100')]


def test_depth_of_a_bag_that_starts_again_waits_although_none_waited_before() -> None:
    pairing = matcher()
    pairing.add_first(900 * MS, 'd900')
    assert pairing.add_second(900 * MS, 'm900') == [('d900', 'm900')]
    pairing.add_second(950 * MS, 'm950')  # waits for a depth image that the bag has not
    assert not pairing.add_first(100 * MS, 'd100')
    assert (pairing.lone_firsts, pairing.lone_seconds) == (0, 1)
    assert pairing.add_second(100 * MS, 'm100') == [('d100', 'm100')]


def test_repeated_stamp_replaces_what_waits() -> None:
    pairing = matcher()
    pairing.add_first(100 * MS, 'old')
    pairing.add_first(100 * MS, 'new')
    assert pairing.lone_firsts == 1
    assert pairing.add_second(100 * MS, 'm') == [('new', 'm')]


def test_late_mask_finds_its_depth_image_among_newer_ones() -> None:
    matching = clouds()
    for stamp in range(100, 400, 33):
        assert matching.add('depth', stamp * MS, f'd{stamp}') == []
    (match,) = matching.add('mask', 166 * MS, 'm166')
    assert (match.depth, match.mask, match.confidence) == ('d166', 'm166', None)
    assert matching.lone['depth'] == 2


def test_mask_waits_for_its_own_confidence() -> None:
    matching = clouds('confidence')
    matching.add('depth', 100 * MS, 'd')
    assert matching.add('mask', 100 * MS, 'm') == []
    (match,) = matching.add('confidence', 100 * MS, 'c')
    assert (match.depth, match.mask, match.confidence) == ('d', 'm', 'c')


def test_confidence_may_come_before_its_mask() -> None:
    matching = clouds('confidence')
    matching.add('depth', 100 * MS, 'd')
    assert matching.add('confidence', 100 * MS, 'c') == []
    assert len(matching.add('mask', 100 * MS, 'm')) == 1


def test_mask_whose_confidence_is_lost_is_counted_with_its_depth_image() -> None:
    matching = clouds('confidence')
    for stamp in (100, 200, 300):
        matching.add('depth', stamp * MS, stamp)
    matching.add('mask', 100 * MS, 'lost')
    matching.add('mask', 200 * MS, 'm')
    assert len(matching.add('confidence', 200 * MS, 'c')) == 1
    assert matching.lone == {'depth': 1, 'mask': 1, 'confidence': 0, 'image': 0}


def test_image_of_the_same_stamp_is_joined() -> None:
    matching = clouds('confidence', 'image')
    for stamp in (100, 133, 166):
        matching.add('image', stamp * MS, f'i{stamp}')
        matching.add('depth', (stamp + 3) * MS, f'd{stamp}')
    matching.add('mask', 133 * MS, 'm133')
    (match,) = matching.add('confidence', 133 * MS, 'c133')
    assert match == (133 * MS, 'm133', 'c133', 'i133', 'd133')
    assert matching.lone == {'depth': 1, 'mask': 0, 'confidence': 0, 'image': 1}


def test_companions_that_wait_are_bounded() -> None:
    matching = clouds('image')
    for stamp in range(100):
        assert matching.add('image', stamp * MS, stamp) == []
    assert matching.lone['image'] == 90


def test_stale_companions_of_a_bag_that_starts_over_are_given_up() -> None:
    matching = clouds('confidence', 'image')
    matching.add('image', 900 * MS, 'stale')
    matching.add('mask', 900 * MS, 'stale')
    matching.add('image', 100 * MS, 'i')
    matching.add('mask', 100 * MS, 'm')
    assert matching.lone == {'depth': 0, 'mask': 1, 'confidence': 0, 'image': 1}
    matching.add('depth', 100 * MS, 'd')
    (match,) = matching.add('confidence', 100 * MS, 'c')
    assert (match.image, match.mask, match.confidence) == ('i', 'm', 'c')


def test_every_depth_image_is_paired_lone_or_waiting() -> None:
    matching = clouds()
    matches = []
    for i in range(1000):
        matches += matching.add('depth', (i * 33 + i % 7) * MS, i)
        if i % 5 == 4:
            matches += matching.add('mask', ((i - 4) * 33 + 5) * MS, i)
    waiting = 1000 - len(matches) - matching.lone['depth']
    assert len(matches) == 200
    assert [match.depth for match in matches] == sorted(match.depth for match in matches)
    assert 0 <= waiting <= 10
