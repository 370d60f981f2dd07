"""The search for the highest rate, against something that loses frames above a known rate."""

from __future__ import annotations

import pytest

from dcfm_ros.replay.online.peak_search import Peak, Probe, find_peak


class Lossy:
    """Answers up to `limit_hz` frames per second and loses the rest."""

    def __init__(self, limit_hz: float, seconds: float = 5.0) -> None:
        self.limit_hz = limit_hz
        self.seconds = seconds
        self.asked: list[float] = []

    def __call__(self, rate_hz: float) -> Probe:
        self.asked.append(rate_hz)
        sent = round(rate_hz * self.seconds)
        answered = min(sent, int(self.limit_hz * self.seconds))
        return Probe(
            rate_hz=rate_hz,
            sent=sent,
            missed=sent - answered,
            playback_hz=rate_hz,
            answered_hz=answered / self.seconds,
        )


def search(limit_hz: float) -> tuple[Peak, Lossy]:
    lossy = Lossy(limit_hz)
    return find_peak(lossy, lower_hz=10.0, upper_hz=100.0), lossy


def test_search_halves_and_then_steps() -> None:
    peak, lossy = search(40.0)
    # The first one warms up; 55 and 43.75 lose 27 and 9 %, 32.5 nothing; the window is 10 wide
    # after 38.125, then 43.125 fails with 7 % missing.
    assert lossy.asked == [55.0, 55.0, 32.5, 43.75, 38.125, 43.125]
    assert [probe.rate_hz for probe in peak.probes] == lossy.asked[1:]
    assert (peak.rate_hz, peak.limit) == (38.125, '')


@pytest.mark.parametrize('limit_hz', [12.0, 17.0, 26.0, 33.0, 60.0, 71.5, 90.0])
def test_peak_is_sustained_and_a_step_more_is_not(limit_hz: float) -> None:
    peak, lossy = search(limit_hz)
    assert lossy(peak.rate_hz).is_sustained(5.0)
    assert not lossy(peak.rate_hz + 5.0).is_sustained(5.0)


def test_rate_below_the_lower_limit_is_reported() -> None:
    peak, lossy = search(4.0)
    assert (peak.rate_hz, peak.limit) == (10.0, 'lower')
    assert lossy.asked[-1] == 10.0


def test_lower_limit_that_holds_is_a_peak_like_any_other() -> None:
    peak, _ = search(10.0)
    assert (peak.rate_hz, peak.limit) == (10.0, '')


def test_rate_above_the_upper_limit_is_reported() -> None:
    peak, lossy = search(1000.0)
    assert peak.limit == 'upper'
    assert 95.0 < peak.rate_hz <= 100.0
    assert max(lossy.asked) <= 100.0


def probe(missed: int, playback_hz: float = 30.0, answered_hz: float = 30.0) -> Probe:
    return Probe(
        rate_hz=30.0, sent=150, missed=missed, playback_hz=playback_hz, answered_hz=answered_hz
    )


def test_five_per_cent_of_the_frames_may_be_missing() -> None:
    assert probe(missed=8).is_sustained(5.0)  # 7.5, rounded up
    assert not probe(missed=9).is_sustained(5.0)


def test_answers_may_lag_behind_the_frames_that_were_really_sent() -> None:
    assert probe(missed=0, playback_hz=35.0).is_sustained(5.0)
    assert not probe(missed=0, playback_hz=35.1).is_sustained(5.0)
