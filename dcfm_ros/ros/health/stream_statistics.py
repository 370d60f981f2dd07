"""Counters and rolling figures of one stream of frames.

Times are seconds of a steady clock, given by the caller.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math
import threading

from dcfm_ros.percentiles import percentiles

DROP_CAUSES = ('replaced', 'lost', 'refused', 'disabled')
"""Why a frame has no mask: a newer one replaced it, it never arrived, it was invalid (or could not
be segmented), the node was paused or stopped."""


@dataclass(frozen=True, kw_only=True)
class StreamSnapshot:
    """Counters since the start and figures of the last seconds, taken at one moment."""

    received: int
    answered: int
    dropped: dict[str, int]
    """Frames without an answer, by cause."""
    rate_in_hz: float
    rate_out_hz: float
    keyframe_share: float
    """Share of keyframes among the answered frames of the window, in [0, 1]; nan if none."""
    latency_ms: dict[str, float | None]
    """Percentiles of the window, as of `percentiles`."""
    since_image_s: float
    """Seconds since the last image, or since `restart` if there was none."""
    bad_frame: bool
    """A frame was refused since the last snapshot, or the newest outcome is a refused frame."""
    last_error: str

    def output_values(self) -> dict[str, str]:
        """Rate and latencies of what was published, for the diagnostics."""
        latency_ms = {name: self.latency_ms[name] for name in ('p50', 'p95', 'max')}
        texts = {
            f'latency_{name}_ms': f'{math.nan if ms is None else ms:.2f}'
            for name, ms in latency_ms.items()
        }
        return {'rate_out_hz': f'{self.rate_out_hz:.2f}', **texts}


class StreamStatistics:
    """Counts the frames of one stream by what became of them; safe to use from any thread.

    With one publisher every frame is counted once: sent == answered + dropped, when none is
    being processed.
    """

    def __init__(self, window_s: float = 10.0, causes: tuple[str, ...] = DROP_CAUSES) -> None:
        self._window_s = window_s
        self._lock = threading.Lock()
        self._received = 0
        self._answered = 0
        self._dropped = dict.fromkeys(causes, 0)
        self._arrivals: deque[float] = deque()
        self._answers: deque[tuple[float, float, bool]] = deque()  # time, latency_ms, is_keyframe
        self._last_image_s = 0.0
        self._window_start_s = 0.0
        self._last_outcome_bad = False
        self._bad_since_snapshot = False
        self._last_error = ''

    def restart(self, now: float) -> None:
        """Begin a new window, as when the node becomes active; counters go on."""
        with self._lock:
            self._arrivals.clear()
            self._answers.clear()
            self._last_image_s = self._window_start_s = now
            self._last_outcome_bad = False

    def received(self, now: float) -> None:
        """Count a frame that has arrived."""
        with self._lock:
            self._received += 1
            self._arrivals.append(now)
            self._last_image_s = now

    def answered(self, now: float, latency_ms: float, is_keyframe: bool) -> None:
        """Count a frame whose mask was published, `latency_ms` after it arrived."""
        with self._lock:
            self._answered += 1
            self._answers.append((now, latency_ms, is_keyframe))
            self._last_outcome_bad = False

    def dropped(self, cause: str, count: int = 1) -> None:
        """Count frames that will have no answer; `cause` is one of `causes`."""
        with self._lock:
            self._dropped[cause] += count

    def refused(self, reason: str) -> None:
        """Count a frame that could not be used, and remember why."""
        with self._lock:
            self._dropped['refused'] += 1
            self._last_outcome_bad = self._bad_since_snapshot = True
            self._last_error = reason

    @property
    def total_dropped(self) -> int:
        """Frames without a mask since the start, of all causes."""
        with self._lock:
            return sum(self._dropped.values())

    def snapshot(self, now: float) -> StreamSnapshot:
        """Current figures; `bad_frame` is reported at least once, however short it lasted."""
        with self._lock:
            self._forget_before(now - self._window_s)
            seconds = min(self._window_s, max(now - self._window_start_s, 1e-3))
            latencies = [latency for _, latency, _ in self._answers]
            keyframes = sum(is_keyframe for _, _, is_keyframe in self._answers)
            bad_frame = self._last_outcome_bad or self._bad_since_snapshot
            self._bad_since_snapshot = False
            return StreamSnapshot(
                received=self._received,
                answered=self._answered,
                dropped=dict(self._dropped),
                rate_in_hz=len(self._arrivals) / seconds,
                rate_out_hz=len(latencies) / seconds,
                keyframe_share=keyframes / len(latencies) if latencies else math.nan,
                latency_ms=percentiles(latencies),
                since_image_s=now - self._last_image_s,
                bad_frame=bad_frame,
                last_error=self._last_error,
            )

    def _forget_before(self, oldest: float) -> None:
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()
        while self._answers and self._answers[0][0] < oldest:
            self._answers.popleft()
