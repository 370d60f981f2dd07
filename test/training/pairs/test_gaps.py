import numpy as np
import pytest

from dcfm_ros.training.pairs.gaps import AgeMatchedGaps, NeighbourGaps


def drawn(gaps, count=900, rate_hz=15.0):
    rng = np.random.default_rng(0)
    return [gaps.draw(rng, rate_hz) for _ in range(count)]


def test_neighbours_lie_on_both_sides():
    values = drawn(NeighbourGaps())
    assert set(values) == {-1, 1}
    assert 380 < values.count(1) < 520


def test_neighbours_reach_as_far_as_asked():
    values = drawn(NeighbourGaps(3))
    assert set(values) == {-3, -2, -1, 1, 2, 3}
    assert 100 < values.count(-3) < 200


def test_ages_are_those_of_the_schedule():
    values = drawn(AgeMatchedGaps((4,)))
    assert set(values) == {1, 2, 3}
    assert 250 < values.count(2) < 350


@pytest.mark.parametrize('rate_hz', [10.0, 15.0, 30.0])
@pytest.mark.parametrize('gaps', [NeighbourGaps(3), AgeMatchedGaps((2, 6), future_share=0.5)])
def test_farthest_gap_is_known(gaps, rate_hz):
    assert max(map(abs, drawn(gaps, rate_hz=rate_hz))) == gaps.farthest(rate_hz)


def test_intervals_share_alike():
    # Interval 2 is always 1 old, interval 4 is 1, 2 or 3: 1 comes (1 + 1/3) / 2 of the time.
    assert AgeMatchedGaps((2, 4)).age_shares == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_ages_are_frames_of_the_camera():
    assert set(drawn(AgeMatchedGaps((3,)), rate_hz=30.0)) == {2, 4}
    assert set(drawn(AgeMatchedGaps((3,), camera_rate_hz=None), rate_hz=30.0)) == {1, 2}
    assert min(drawn(AgeMatchedGaps((3,)), rate_hz=1.0)) == 1


def test_future_references_have_negative_age():
    values = drawn(AgeMatchedGaps((2,), future_share=0.25))
    assert set(values) == {-1, 1}
    assert 170 < values.count(-1) < 280


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        ({'keyframe_intervals': (2, 1)}, r'`keyframe_intervals` must be at least 2.*\[2, 1\]'),
        ({'future_share': 1.5}, r'`future_share` must be in \[0, 1\], got 1.5'),
        ({'camera_rate_hz': 0.0}, '`camera_rate_hz` must be above 0, got 0.0'),
    ],
)
def test_wrong_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        AgeMatchedGaps(**values)


def test_reach_below_one_is_refused():
    with pytest.raises(ValueError, match='`reach` must be at least 1, got 0'):
        NeighbourGaps(0)
