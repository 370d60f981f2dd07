"""Plays of a recording to a running node at fixed rates, and at the highest one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
import math
from typing import Any

import numpy as np

from dcfm_ros.play.player import PlayedFrame, Player
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.play.report import PlayReport
from dcfm_ros.replay.online.peak_search import Probe, find_peak
from dcfm_ros.replay.online.played_frames import looped
from dcfm_ros.replay.online.statistics import rate_statistics, replayed_frames
from dcfm_ros.replay.statistics import benchmark_statistics

WAIT_S = 120.0
"""How long to wait for the node to become ready, and for its last answers."""


class RatePlays:
    """Plays for some seconds each, at any rate, and measures the node's process.

    Args:
        player: Connected to the node.
        frames: Played over and over.
        seconds: Length of a run.
        runs: How many at a rate.
        meter: Of the node's process, if it is known.
        say: Gets a line before each measurement.
    """

    def __init__(
        self,
        player: Player,
        frames: Sequence[PlayedFrame],
        *,
        seconds: float,
        runs: int,
        meter: ProcessMeter | None,
        say: Callable[[str], None],
    ) -> None:
        self._player = player
        self._frames = frames
        self._seconds = seconds
        self._runs = runs
        self._meter = meter
        self._say = say

    def at(self, rate_hz: float) -> dict[str, Any]:
        """Statistics of several runs at a rate."""
        self._say(f'{self._runs} runs of {self._seconds:g} s at {rate_hz:g} Hz')
        reports = [self._play(rate_hz) for _ in range(self._runs)]
        found = rate_statistics(rate_hz, reports)
        if self._meter is not None:
            found['process'] = _mean_use([use_of(self._meter, report) for report in reports])
        return found

    def peak(self, lower_hz: float, upper_hz: float) -> dict[str, Any]:
        """The highest rate with few missing frames, and the statistics of runs at it."""
        peak = find_peak(self._probe, lower_hz=lower_hz, upper_hz=upper_hz)
        return {
            'rate_hz': peak.rate_hz,
            'at_limit': peak.limit or None,
            'probes': [asdict(probe) for probe in peak.probes],
            **self.at(peak.rate_hz),
        }

    def _probe(self, rate_hz: float) -> Probe:
        self._say(f'trying {rate_hz:g} Hz')
        found = benchmark_statistics([replayed_frames(self._play(rate_hz))])
        named = {name.rpartition('.')[2]: value for name, value in found.items()}
        return Probe(
            rate_hz=rate_hz,
            sent=named['NUM_FRAMES_SENT'],
            missed=named['NUM_MISSED_FRAMES'],
            playback_hz=named['MEAN_PLAYBACK_FRAME_RATE'] or rate_hz,
            answered_hz=named['MEAN_FRAME_RATE'] or 0.0,
        )

    def _play(self, rate_hz: float) -> PlayReport:
        # At least two: a rate is between frames.
        count = max(math.ceil(self._seconds * rate_hz), 2)
        return self._player.play(looped(self._frames, count), rate_hz=rate_hz, wait_s=WAIT_S)


def use_of(meter: ProcessMeter, report: PlayReport) -> dict[str, float | None]:
    """What a process took while frames were played to it."""
    sent_s = [record.sent_s for record in report.records]
    received_s = [r.received_s for r in report.records if r.received_s is not None]
    return meter.figures(sent_s[0], max([*sent_s, *received_s]))


def _mean_use(uses: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Means of several runs, and the largest maximum; None where no run has a value."""
    found: dict[str, float | None] = {}
    for name in uses[0]:
        values = [value for use in uses if (value := use[name]) is not None]
        join = max if name.endswith('max') else np.mean
        found[name] = float(join(values)) if values else None
    return found
