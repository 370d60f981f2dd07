"""Which images make a cloud together, and what becomes of the others."""

from __future__ import annotations

import random

import pytest

from dcfm_ros.cloud.matching import CloudMatcher, Match

MS = 1_000_000


def clouds(*companions: str, capacity: int = 10) -> CloudMatcher:
    return CloudMatcher(companions, max_difference_ns=20 * MS, capacity=capacity)


def feed(matching: CloudMatcher, *messages: str) -> list[str]:
    """Add messages like 'd100' or 'm100b': stream, stamp in ms, which; returns 'd100+m100b'."""
    streams = {'d': 'depth', 'm': 'mask', 'c': 'confidence', 'i': 'image'}
    found: list[Match] = []
    for message in messages:
        stamp = int(message[1:].rstrip('ab'))
        found += matching.add(streams[message[0]], stamp * MS, message)
    order = ('depth', 'mask', 'confidence', 'image')
    return ['+'.join(filter(None, (getattr(m, name) for name in order))) for m in found]


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
    for stamp in range(1, 101):
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
    for i in range(1, 1001):
        matches += matching.add('depth', (i * 33 + i % 7) * MS, i)
        if i % 5 == 0:
            matches += matching.add('mask', ((i - 4) * 33 + 5) * MS, i)
    waiting = 1000 - len(matches) - matching.lone['depth']
    assert len(matches) == 200
    assert [match.depth for match in matches] == sorted(match.depth for match in matches)
    assert 0 <= waiting <= 10


def test_bag_that_starts_over_gives_up_what_waits_and_goes_on() -> None:
    matching = clouds()
    assert feed(matching, 'd900', 'm910', 'd100') == []
    assert matching.lone['depth'] == matching.lone['mask'] == 1
    assert feed(matching, 'm100') == ['d100+m100']


@pytest.mark.parametrize('waiting', [(), ('d900',), ('m900',), ('d900', 'm900')])
@pytest.mark.parametrize(
    'messages',
    [
        ('d100', 'm100', 'd133', 'm133'),
        ('m100', 'd100', 'm133', 'd133'),
        ('m100', 'm133', 'd100', 'd133'),
        ('d100', 'd133', 'm100', 'm133'),
    ],
)
def test_either_stream_may_start_over_first(
    waiting: tuple[str, ...], messages: tuple[str, ...]
) -> None:
    matching = clouds()
    feed(matching, 'd800', 'm800', *waiting)
    assert feed(matching, *messages) == ['d100+m100', 'd133+m133']


def test_masks_from_before_a_restart_take_no_depth_image() -> None:
    """They are late, as always: those of the end come when depth images of the start are here."""
    matching = clouds()
    before = feed(matching, *(f'd{stamp}' for stamp in range(1000, 1300, 33)), 'm1000')
    assert before == ['d1000+m1000']
    new = [f'd{stamp}' for stamp in range(100, 230, 16)]
    assert feed(matching, *new[:3], 'm1033', new[3], 'm1066', *new[4:]) == []
    masks = [f'm{stamp}' for stamp in range(100, 230, 16)]
    assert feed(matching, *masks) == [f'd{name[1:]}+{name}' for name in masks]


@pytest.mark.parametrize(
    'messages',
    [
        ('d0', 'm0'),
        ('m0', 'd0', 'd0', 'm0'),
        ('d100a', 'd100b', 'm100'),
        ('d100a', 'd100b', 'm100a', 'm100b', 'd133'),
        ('d100a', 'd100b', 'd110', 'm100', 'd140'),  # 110 is near, but not its own
        ('m100a', 'm100b', 'd100', 'd133'),
        ('m100a', 'm110', 'm100b', 'd100', 'd133'),
    ],
)
def test_stamps_that_tell_nothing_apart_make_no_cloud(messages: tuple[str, ...]) -> None:
    matching = clouds()
    found = feed(matching, *messages)
    assert not [match for match in found if '100' in match or '+m0' in match]
    assert matching.bad_stamps.total() >= 2
    assert feed(matching, 'd200', 'm200') == ['d200+m200']


def test_bad_stamps_are_counted_and_told() -> None:
    matching = clouds()
    feed(matching, 'd0', 'm100a', 'm100b')
    assert matching.bad_stamps == {'depth': 1, 'mask': 2}
    assert matching.complaints == {
        'depth': 'is 0: it was never set',
        'mask': 'is that of a message before',
    }
    feed(matching, 'd133', 'm133')
    assert not matching.complaints


def test_stamp_that_never_changes_makes_the_first_cloud_only() -> None:
    matching = clouds()
    assert feed(matching, 'd100a', 'm100a') == ['d100a+m100a']
    assert feed(matching, *['d100', 'd100', 'm100', 'd100', 'm100'] * 20) == []
    assert matching.lone['depth'] + matching.bad_stamps['depth'] == 60


@pytest.mark.parametrize(
    'messages',
    [
        ('m100a', 'm100b', 'c100a', 'c100b'),
        ('c100a', 'm100', 'c100b'),
        ('m100', 'c100a', 'c100b'),
        ('m100a', 'c100', 'm100b'),
        ('m100a', 'c100a', 'm100b', 'c100b'),
        ('c100a', 'c100b', 'm100'),
    ],
)
def test_mask_or_confidence_that_comes_twice_spoils_its_stamp(messages: tuple[str, ...]) -> None:
    matching = clouds('confidence')
    assert feed(matching, *messages, 'd100', 'd133') == []
    assert matching.bad_stamps['mask'] + matching.bad_stamps['confidence'] == len(messages)
    assert feed(matching, 'm133', 'c133') == ['d133+m133+c133']


def test_stamp_that_comes_again_after_newer_ones_is_counted() -> None:
    """More messages than stamps are remembered; the first one still waits."""
    matching = clouds('confidence', capacity=2)
    assert feed(matching, 'm300a', 'm290', 'm280', 'm300b') == []
    assert matching.bad_stamps == {'mask': 2}
    assert matching.complaints == {'mask': 'is that of a message before'}
    assert matching.lone['mask'] == 1  # of 280, for which there is no room
    assert feed(matching, 'c300', 'd300', 'd290', 'c290') == ['d290+m290+c290']
    assert matching.bad_stamps == {'mask': 2, 'confidence': 1}


def test_spoilt_stamp_is_good_again_after_a_restart() -> None:
    matching = clouds('confidence')
    feed(matching, 'd100', 'm100a', 'm100b', 'd900', 'm900', 'c900')
    assert feed(matching, 'd100', 'm100', 'c100') == ['d100+m100+c100']


@pytest.mark.parametrize('seed', range(20))
def test_images_out_of_order_or_lost_are_never_mixed_up(seed: int) -> None:
    """Frames are 33 ms apart, the tolerance is 20 ms: whatever is paired must be one frame's."""
    rng = random.Random(seed)
    arrivals = []
    for stamp in range(1000, 20_000, 33):
        for stream, lag in (('d', 0), ('m', 120), ('c', 125)):
            if rng.random() < 0.9:
                arrivals.append((stamp + lag + rng.uniform(0, 80), f'{stream}{stamp}'))
    messages = [message for _, message in sorted(arrivals)]
    matching = clouds('confidence', capacity=30)
    found = feed(matching, *messages)
    assert len(found) > 150
    assert {name[1:] for match in found for name in match.split('+')[1:]} != set()
    for match in found:
        assert len({name[1:] for name in match.split('+')}) == 1, match
    stamps = [int(match.split('+')[0][1:]) for match in found]
    assert stamps == sorted(set(stamps))
    num_depths = sum(message.startswith('d') for message in messages)
    assert 0 <= num_depths - len(found) - matching.lone['depth'] <= 30


@pytest.mark.parametrize('seed', range(20))
def test_images_with_equal_stamps_are_never_mixed_up(seed: int) -> None:
    """A camera that stamps now and then two images alike; masks come late, none is lost."""
    rng = random.Random(seed)
    stamp, arrivals = 1000, []
    for frame in range(500):
        stamp += 33 if rng.random() < 0.8 else 0
        start = 33 * frame
        arrivals += [(start, 'depth', stamp, frame), (start + 100, 'mask', stamp, frame)]
        arrivals += [(start + 101, 'confidence', stamp, frame)]
    matching, found = clouds('confidence', capacity=30), []
    for _, stream, stamp, frame in sorted(arrivals):
        found += matching.add(stream, stamp * MS, frame)
    assert len(found) > 250
    assert all(match.depth == match.mask == match.confidence for match in found)


@pytest.mark.parametrize('seed', range(10))
def test_bag_that_starts_over_again_and_again_is_never_mixed_up(seed: int) -> None:
    """Three passes of 3 s; images of the end of one come among those of the next."""
    rng = random.Random(seed)
    arrivals = []
    for lap in range(3):
        for frame in range(90):
            start = 33 * (90 * lap + frame)
            for stream, lag in (('depth', 0), ('mask', 100), ('confidence', 101)):
                arrival = start + lag + rng.uniform(0, 30)
                arrivals.append((arrival, stream, 1000 + 33 * frame, (lap, frame)))
    matching, found = clouds('confidence', capacity=30), []
    for _, stream, stamp, frame in sorted(arrivals):
        found += matching.add(stream, stamp * MS, frame)
    assert all(match.depth == match.mask == match.confidence for match in found)
    assert len(found) > 250
