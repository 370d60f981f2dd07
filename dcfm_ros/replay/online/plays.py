"""Plays of a recording to a running node: at its own rate, at fixed rates, at the highest one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
import itertools
import math
from typing import Any

from dcfm_ros.play.player import PlayedFrame, Player
from dcfm_ros.play.process_meter import ProcessMeter
from dcfm_ros.play.report import PlayReport
from dcfm_ros.recordings.bag_topic import stamp_of
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.replay.figures import benchmark_figures
from dcfm_ros.replay.online.figures import entries, rate_figures
from dcfm_ros.replay.online.peak_search import Peak, Probe, find_peak

_SEAM_NS = 10_000_000_000
"""Between the last frame of a recording and its first one again: the node starts anew."""
_BUFFER_BYTES = 1 << 30
"""Frames of a fixed rate are held in memory: reading them would take the node's time."""
_WAIT_S = 120.0


def image_transport(reader: BagReader) -> str:
    """How the images were recorded, 'raw' or 'compressed'; a frame has been read already."""
    return 'compressed' if reader.is_compressed else 'raw'


def recorded_frames(reader: BagReader, transport: str) -> Iterator[PlayedFrame]:
    """The frames of a recording: its JPEG and PNG files as they are, all else as RGB."""
    if transport == 'raw':
        for frame in reader.frames():
            yield PlayedFrame(image=frame.image, stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)
        return
    yield from reader.messages(_played)


def _played(message: Any) -> PlayedFrame:
    return PlayedFrame(
        image=bytes(message.data), stamp_ns=stamp_of(message), frame_id=message.header.frame_id
    )


def buffered(frames: Iterable[PlayedFrame], count: int) -> list[PlayedFrame]:
    """The first frames, as many as fit into 1 GiB."""
    kept: list[PlayedFrame] = []
    size = 0
    for frame in itertools.islice(frames, count):
        size += len(frame.image) if isinstance(frame.image, bytes) else frame.image.nbytes
        if kept and size > _BUFFER_BYTES:
            break
        kept.append(frame)
    return kept


def looped(frames: Sequence[PlayedFrame], count: int) -> Iterator[PlayedFrame]:
    """Frames again and again until there are `count`, with stamps that go on over the seams."""
    span_ns = max(f.stamp_ns for f in frames) - min(f.stamp_ns for f in frames)
    rounds = (
        replace(frame, stamp_ns=frame.stamp_ns + index * (span_ns + _SEAM_NS))
        for index in itertools.count()
        for frame in frames
    )
    return itertools.islice(rounds, count)


class RatePlays:
    """Plays for some seconds each at any rate, with what the node's process took.

    Args:
        player: Connected to the node.
        frames: What is played, again and again if they are too few.
        seconds: Length of a run.
        runs: How many at a rate.
        meter: Of the node's process, if it is known.
        say: Told what is about to be measured.
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
        """Figures of several runs at a rate."""
        self._say(f'{self._runs} runs of {self._seconds:g} s at {rate_hz:g} Hz')
        reports = [self._play(rate_hz) for _ in range(self._runs)]
        figures = rate_figures(rate_hz, reports)
        if self._meter is not None:
            figures['process'] = _mean_use([use_of(self._meter, report) for report in reports])
        return figures

    def peak(self, lower_hz: float, upper_hz: float) -> tuple[Peak, dict[str, Any]]:
        """The highest rate with few missing frames, and the figures of runs at it."""
        peak = find_peak(self._probe, lower_hz=lower_hz, upper_hz=upper_hz)
        return peak, self.at(peak.rate_hz)

    def _probe(self, rate_hz: float) -> Probe:
        self._say(f'trying {rate_hz:g} Hz')
        figures = benchmark_figures([entries(self._play(rate_hz))])
        named = {name.rpartition('.')[2]: value for name, value in figures.items()}
        return Probe(
            rate_hz=rate_hz,
            sent=named['NUM_FRAMES_SENT'],
            missed=named['NUM_MISSED_FRAMES'],
            playback_hz=named['MEAN_PLAYBACK_FRAME_RATE'] or rate_hz,
            answered_hz=named['MEAN_FRAME_RATE'] or 0.0,
        )

    def _play(self, rate_hz: float) -> PlayReport:
        # Two at least: a rate is between frames.
        count = max(math.ceil(self._seconds * rate_hz), 2)
        return self._player.play(looped(self._frames, count), rate_hz=rate_hz, wait_s=_WAIT_S)


def use_of(meter: ProcessMeter, report: PlayReport) -> dict[str, float | None]:
    """What a process took while frames were played to it."""
    sent_s = [record.sent_s for record in report.records]
    received_s = [r.received_s for r in report.records if r.received_s is not None]
    return meter.figures(sent_s[0], max([*sent_s, *received_s]))


def _mean_use(uses: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in uses[0]:
        values = [value for use in uses if (value := use[name]) is not None]
        if not values:
            found[name] = None
        else:
            found[name] = max(values) if name.endswith('max') else sum(values) / len(values)
    return found
