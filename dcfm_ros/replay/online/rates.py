"""Plays of a recording to a running node at fixed rates, and at the highest one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import math
from typing import Any

import numpy as np

from dcfm_ros.play.player import PlayedFrame, play
from dcfm_ros.play.player_node import PlayerNode
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.play.report import PlayReport
from dcfm_ros.replay.online.options import OnlineOptions
from dcfm_ros.replay.online.peak_search import Probe, find_peak
from dcfm_ros.replay.online.played_frames import buffered, looped, played_frames
from dcfm_ros.replay.online.statistics import rate_statistics, replayed_frames, span_s
from dcfm_ros.replay.recording import Recording
from dcfm_ros.replay.statistics import benchmark_statistics

WAIT_S = 120.0
"""How long to wait for the node to become ready, and for its last answers."""


@dataclass(frozen=True, kw_only=True)
class RatePlays:
    """Plays for some seconds each, at any rate, and measures the node's process."""

    player: PlayerNode
    frames: Sequence[PlayedFrame]
    """Played over and over."""
    options: OnlineOptions
    meter: ProcessMeter | None
    """Of the node's process, if it is known."""
    say: Callable[[str], None]
    """Gets a line before each measurement."""

    def at(self, rate_hz: float) -> dict[str, Any]:
        """Statistics of several runs at a rate."""
        runs = self.options.runs
        self.say(f'{runs} runs of {self.options.seconds:g} s at {rate_hz:g} Hz')
        reports = [self._play(rate_hz) for _ in range(runs)]
        found = rate_statistics(rate_hz, reports)
        if self.meter is not None:
            found['process'] = _mean_use([self.meter.figures(*span_s(r)) for r in reports])
        return found

    def peak(self) -> dict[str, Any]:
        """The highest rate with few missing frames, and the statistics of runs at it."""
        lower_hz, upper_hz = self.options.peak_limits_hz
        peak = find_peak(self._probe, lower_hz=lower_hz, upper_hz=upper_hz)
        return {
            'rate_hz': peak.rate_hz,
            'at_limit': peak.limit or None,
            'probes': [asdict(probe) for probe in peak.probes],
            **self.at(peak.rate_hz),
        }

    def _probe(self, rate_hz: float) -> Probe:
        self.say(f'trying {rate_hz:g} Hz')
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
        frames = looped(self.frames, _count(self.options, rate_hz))
        return play(self.player, frames, rate_hz=rate_hz, wait_s=WAIT_S)


def play_rates(
    recording: Recording,
    player: PlayerNode,
    options: OnlineOptions,
    meter: ProcessMeter | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Statistics at fixed rates ('rates') and, in mode 'peak', at the highest one ('peak')."""
    is_peak = options.mode == 'peak'
    highest_hz = max(*options.rates, options.peak_limits_hz[1] if is_peak else 0.0)
    frames = buffered(played_frames(recording), _count(options, highest_hz))
    plays = RatePlays(player=player, frames=frames, options=options, meter=meter, say=say)
    found: dict[str, Any] = {'rates': [plays.at(rate_hz) for rate_hz in options.rates]}
    return found | ({'peak': plays.peak()} if is_peak else {})


def _count(options: OnlineOptions, rate_hz: float) -> int:
    """Frames of a run; at least two, because a rate is between frames."""
    return max(math.ceil(options.seconds * rate_hz), 2)


def _mean_use(uses: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Means of several runs, and the largest maximum; None where no run has a value."""
    found: dict[str, float | None] = {}
    for name in uses[0]:
        values = [value for use in uses if (value := use[name]) is not None]
        join = max if name.endswith('max') else np.mean
        found[name] = float(join(values)) if values else None
    return found
