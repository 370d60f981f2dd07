"""A node process that is fed for hours: accounting, masks, memory, files, threads, latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count as count_from
import math
import zlib

import numpy as np
from numpy.typing import NDArray
from std_srvs.srv import Trigger

from dcfm_ros.benchmark.sections import Section
from dcfm_ros.play.node_process import node_process
from dcfm_ros.play.player import PlayedFrame, connect, play
from dcfm_ros.play.report import PlayReport
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig
from dcfm_ros.torture.campaign import Piece, Torture, Verdict
from dcfm_ros.torture.expected import checksums_of_masks
from dcfm_ros.torture.figures import latency_bin, latency_ms, mean_of, most_of, tenths_by_run
from dcfm_ros.torture.process_state import process_state
from dcfm_ros.torture.service_call import call

_INTERVAL = 3
_IMAGES = 24
_CHUNK = 960
"""Frames of one play: it begins with a reset, and what is remembered of each ends with it."""
_WAIT_S = 120.0
_RESET = '/segmentation/segmentation_node/reset'
_BURST = 0.1
"""Share of a piece that is sent faster than any node takes it."""
_BURST_HZ = 2000.0


class Soak(Torture):
    """Small images, each when the last one is answered, and a tenth of them in bursts."""

    unit = 'images'
    full = 1_000_000
    piece = 10_000
    size = 96, 128
    rate_hz: float | None = None
    """Of the images; None: as fast as they are answered."""

    def begin(self, keep: ExitStack) -> None:
        """Start the node and connect to it."""
        drive = DriveConfig(
            height=self.size[0], width=self.size[1], num_frames=_IMAGES, seed=self.seed
        )
        self._images = [frame.image for frame in synthetic_frames(drive)]
        self._expected = checksums_of_masks(self._images, _CHUNK, _INTERVAL)
        self._unlike = 0
        self._stamps = (number * 33_000_000 for number in count_from(1))
        parameters = {'keyframe_interval': _INTERVAL, 'device': 'cpu', 'cpu_threads': 1}
        log = self.folder / f'soak_{self.size[0]}x{self.size[1]}.log'
        self._node = keep.enter_context(node_process(parameters, log))
        self._player = keep.enter_context(connect(on_mask=self._check))

    def run_piece(self, begin: int, count: int) -> Piece:
        """Play the images round and round; masks, keyframes and counts must be right."""
        burst = round(count * _BURST) if self.rate_hz is None else 0
        seen: Counter[str] = Counter()
        latencies: Counter[int] = Counter()
        for chunk in _chunks(count - burst):
            self._player.wait_until_ready(_WAIT_S)
            assert call(self._player, Trigger, _RESET, _WAIT_S).success
            report = self._play(chunk, self.rate_hz)
            # The masks after an image that was dropped are those of other keyframes.
            seen['unchecked' if report.dropped else 'wrong_masks'] += self._unlike
            timings = [record.timing for record in report.records if record.timing]
            seen['keyframes'] += sum(timing.is_keyframe for timing in timings)
            seen['keyframes_due'] += math.ceil(report.answered / _INTERVAL)
            latencies.update(latency_bin(ms) for r in report.records if (ms := r.latency_ms))
            seen += _counts(report)
        if burst:
            seen += _counts(self._play(burst, _BURST_HZ))
        return {
            **{name: seen[name] for name in _COUNTS},
            'latencies': {str(key): value for key, value in sorted(latencies.items())},
            **process_state(self._node.pid),
        }

    def verdicts(self, pieces: Sequence[Piece]) -> list[Verdict]:
        """Nothing unaccounted, wrong or growing."""
        total = {name: sum(piece[name] for piece in pieces) for name in _COUNTS}
        keyframes = abs(total['keyframes'] - total['keyframes_due'])
        verdicts = [
            Verdict.zero('images neither answered nor counted', total['unaccounted']),
            Verdict.zero('masks of no image, or twice', total['unexpected']),
            Verdict.zero('masks unlike those of the engine', total['wrong_masks']),
            Verdict.zero('keyframes more or fewer than due', keyframes),
        ]
        for run, tenths in tenths_by_run(pieces):
            early, late = tenths[1], tenths[-1]
            name = f'run {run}: ' if run else ''
            growth = mean_of(late, 'memory_mb') - mean_of(early, 'memory_mb')
            verdicts.append(Verdict.at_most(f'{name}memory growth, MB', round(growth, 2), 1.0))
            for what in _FLAT:
                more = most_of(late, what) - most_of(early, what)
                verdicts.append(Verdict.at_most(f'{name}more {what}', more, 0))
            ratio = round(latency_ms(late, 99) / latency_ms(early, 99), 3)
            what = f'{name}latency p99, last by second tenth'
            verdicts.append(Verdict.at_most(what, ratio, 1.2))
        return verdicts

    def sections(self, pieces: Sequence[Piece]) -> list[Section]:
        """What was counted, and a row for each tenth of each run."""
        total = [{'what': name, 'images': sum(p[name] for p in pieces)} for name in _COUNTS]
        rows = [
            {
                'run': run,
                'tenth': number,
                'images': sum(piece['count'] for piece in tenth),
                **{f'p{share}_ms': latency_ms(tenth, share) for share in (50, 95, 99)},
                'memory_mb': mean_of(tenth, 'memory_mb'),
                **{what: most_of(tenth, what) for what in _FLAT},
            }
            for run, tenths in tenths_by_run(pieces)
            for number, tenth in enumerate(tenths, 1)
        ]
        tables = [Section('Images', total, _NOTE)]
        return [*tables, Section('By tenth', rows, _TENTHS)] if rows else tables

    def _play(self, count: int, rate_hz: float | None) -> PlayReport:
        self._unlike = 0
        frames = (
            PlayedFrame(image=self._images[number % _IMAGES], stamp_ns=next(self._stamps))
            for number in range(count)
        )
        return play(self._player, frames, rate_hz=rate_hz, wait_s=_WAIT_S)

    def _check(self, index: int, mask: NDArray[np.uint8]) -> None:
        # A burst may be longer; its masks are not compared.
        self._unlike += index < _CHUNK and zlib.crc32(mask.data) != self._expected[index]


class Stream(Soak):
    """Images of a VGA camera at 15 Hz, for hours."""

    full = 4 * 3600 * 15
    piece = _CHUNK
    size = 480, 640
    rate_hz = 15.0
    needs_profile = True  # the images are larger than what Fast DDS has room for by itself


_COUNTS = (
    'sent', 'answered', 'dropped', 'unaccounted', 'unexpected', 'wrong_masks', 'unchecked',
    'keyframes', 'keyframes_due',
)  # fmt: skip
_FLAT = ('files', 'threads', 'shared_memory_files')
_NOTE = (
    'Every mask is compared with that of an engine without ROS. `dropped`: counted by the node, '
    'in bursts that no node could answer. `unchecked`: masks that differ after such an image, '
    'since other frames became keyframes.'
)
_TENTHS = (
    'Of each run of the node process. Latency from sending an image to the arrival of its mask, '
    'without bursts; memory is what is resident, sampled after each piece.'
)


def _chunks(count: int) -> Iterator[int]:
    """Parts of the count, none longer than a play may be."""
    while count > 0:
        yield min(count, _CHUNK)
        count -= _CHUNK


def _counts(report: PlayReport) -> Counter[str]:
    # Lost after the last one that arrived: the node counts them when the next one shows the gap.
    last = max(report.never_arrived - report.dropped_by_cause['lost'], 0)
    return Counter(
        sent=report.sent,
        answered=report.answered,
        dropped=report.dropped + last,
        unaccounted=abs(report.unaccounted - last),
        unexpected=report.unexpected_masks,
    )
