"""Rolling statistics of a stream of frames and what they say about its health; no ROS.

Times are seconds of a steady clock, given by the caller.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
import math
from pathlib import Path
import resource
import threading

DROP_CAUSES = ('replaced', 'lost', 'refused', 'disabled')
"""Why a frame has no mask: a newer one came first, it never arrived, it was no valid image (or
could not be segmented), the node was paused or stopped."""


class Level(IntEnum):
    """Severity, with the values of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, kw_only=True)
class Status:
    """One line of a diagnostics display."""

    task: str
    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StreamSnapshot:
    """Counters since the start and figures of the last seconds, taken at one moment."""

    received: int
    answered: int
    dropped: dict[str, int]
    """Frames without a mask by cause, one entry for each of `DROP_CAUSES`."""
    rate_in_hz: float
    rate_out_hz: float
    keyframe_share: float
    """Share of keyframes among the answered frames of the window, in [0, 1]; nan if none."""
    latency_p50_ms: float
    latency_p95_ms: float
    latency_max_ms: float
    since_image_s: float
    """Seconds since the last image came, or since `restart` if none came."""
    bad_frame: bool
    """A frame was refused since the last snapshot, or the newest outcome is a refused frame."""
    last_error: str


class StreamStatistics:
    """Counts the frames of one stream by what became of them; safe to use from any thread.

    For one publisher every frame is counted once: sent == answered + dropped, as soon as nothing
    is under way.
    """

    def __init__(self, window_s: float = 10.0) -> None:
        self._window_s = window_s
        self._lock = threading.Lock()
        self._received = 0
        self._answered = 0
        self._dropped = dict.fromkeys(DROP_CAUSES, 0)
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
        """Count frames that will have no mask; `cause` is one of `DROP_CAUSES`."""
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
        """Figures of now; `bad_frame` is told once at least, however short it lasted."""
        with self._lock:
            self._forget_before(now - self._window_s)
            seconds = min(self._window_s, max(now - self._window_start_s, 1e-3))
            latencies = sorted(latency for _, latency, _ in self._answers)
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
                latency_p50_ms=percentile(latencies, 50),
                latency_p95_ms=percentile(latencies, 95),
                latency_max_ms=percentile(latencies, 100),
                since_image_s=now - self._last_image_s,
                bad_frame=bad_frame,
                last_error=self._last_error,
            )

    def _forget_before(self, oldest: float) -> None:
        while self._arrivals and self._arrivals[0] < oldest:
            self._arrivals.popleft()
        while self._answers and self._answers[0][0] < oldest:
            self._answers.popleft()


class SequenceGaps:
    """Counts frames that the middleware lost, from a publisher's sequence numbers (from 1)."""

    _SETTLED_S = 2.0
    _MAX_FIRST, _MAX_FIRST_OF_NEW = 30, 1000

    def __init__(self) -> None:
        self._last: int | None = None
        self._max_first = 0
        self._settled_s = 0.0
        self._has_received = False

    def listen(self, now: float, known_publishers: int) -> None:
        """Begin, with a new subscription to a topic that has publishers already, or none."""
        self._last, self._max_first, self._has_received = None, 0, False
        self._settled_s = now + self._SETTLED_S if known_publishers else now

    def connect(self, now: float, publishers: int, change: int) -> None:
        """Forget the last number, since publishers came or went.

        A publisher that comes when the node listens already is new: what was sent before its
        first frame arrived was lost too. One that was there before may have sent anything; only
        if its first number is low, it began together with the node.

        Args:
            now: Steady clock, s.
            publishers: How many are connected now.
            change: How many more than before; 0 if one came and one went.
        """
        is_new = publishers == 1 and (change >= 0 or not self._has_received)
        limit = self._MAX_FIRST_OF_NEW if now > self._settled_s else self._MAX_FIRST
        self._last, self._max_first = None, limit if is_new else 0
        self._has_received = False

    def lost_before(self, number: int | None) -> int:
        """How many frames are missing between the last one and this; None: not known."""
        self._has_received = True
        last, self._last = self._last, number
        first_limit, self._max_first = self._max_first, 0
        if number is None:
            return 0
        if last is None and number <= first_limit:
            last = 0
        return max(number - last - 1, 0) if last is not None else 0


class LogThrottle:
    """Lets the same complaint through once per period and counts what it holds back."""

    _MAX_KEYS = 100

    def __init__(self, period_s: float = 1.0) -> None:
        self._period_s = period_s
        self._last: dict[str, tuple[float, int]] = {}  # key -> time let through, held back since

    def allow(self, key: str, now: float) -> int | None:
        """Ask to log a complaint.

        Returns:
            How many of its kind were held back since the last one, or None: hold this one back.
        """
        last_s, held_back = self._last.get(key, (-math.inf, 0))
        if now - last_s < self._period_s:
            self._last[key] = (last_s, held_back + 1)
            return None
        if len(self._last) >= self._MAX_KEYS:
            self._last.clear()
        self._last[key] = (now, 0)
        return held_back


def image_status(
    snapshot: StreamSnapshot,
    *,
    is_waiting: bool,
    no_image_warning_s: float,
    topic: str,
    publishers: int,
    reliability: str,
) -> Status:
    """What is known of the input.

    Args:
        snapshot: Figures of the stream.
        is_waiting: Whether images are expected now (the node is active and enabled).
        no_image_warning_s: Seconds without an image that are worth a warning; 0: none are.
        topic: Fully qualified.
        publishers: How many the node is connected to.
        reliability: 'reliable' or 'best_effort', as asked for; '' while the node does not listen.
    """
    silent = 0 < no_image_warning_s <= snapshot.since_image_s
    level, message = Level.OK, f'{snapshot.rate_in_hz:.1f} images per second'
    if snapshot.bad_frame:
        level, message = Level.ERROR, f'bad image: {snapshot.last_error}'
    elif is_waiting and silent:
        level = Level.WARN
        message = f'no image for {snapshot.since_image_s:.0f} s on {topic}'
        message += f' ({publishers} publishers connected)'
    elif not is_waiting:
        message = 'not listening'
    values = {
        'topic': topic,
        'publishers': str(publishers),
        'reliability': reliability,
        'rate_in_hz': f'{snapshot.rate_in_hz:.2f}',
        'frames_received': str(snapshot.received),
    }
    values |= {f'dropped_{cause}': str(count) for cause, count in snapshot.dropped.items()}
    values['last_error'] = snapshot.last_error
    return Status(task='images', level=level, message=message, values=values)


def mask_status(snapshot: StreamSnapshot, deadline_ms: float, subscribers: int) -> Status:
    """What is known of the output; a p95 latency above `deadline_ms` is a warning, 0: never."""
    p95 = snapshot.latency_p95_ms
    late = 0 < deadline_ms < p95
    message = f'{snapshot.rate_out_hz:.1f} masks per second'
    if late:
        message = f'p95 latency {p95:.1f} ms is above the deadline of {deadline_ms:.1f} ms'
    values = {
        'rate_out_hz': f'{snapshot.rate_out_hz:.2f}',
        'mask_subscribers': str(subscribers),
        'frames_answered': str(snapshot.answered),
        'keyframe_share': f'{snapshot.keyframe_share:.3f}',
        'latency_p50_ms': f'{snapshot.latency_p50_ms:.2f}',
        'latency_p95_ms': f'{p95:.2f}',
        'latency_max_ms': f'{snapshot.latency_max_ms:.2f}',
        'deadline_ms': f'{deadline_ms:.1f}' if deadline_ms else 'off',
    }
    level = Level.WARN if late else Level.OK
    return Status(task='masks', level=level, message=message, values=values)


def model_status(state: str, failure: str, requested_device: str, model: dict[str, str]) -> Status:
    """What is known of the node and its network.

    Args:
        state: Lifecycle state in words.
        failure: Why the last transition failed; '' if it did not.
        requested_device: Parameter `device`.
        model: Facts of the loaded network, `device` among them, and `backend_failure` if what was
            to run it failed; empty if none is loaded.
    """
    level, message = Level.OK, state
    if failure:
        level, message = Level.ERROR, failure
    elif backend_failure := model.get('backend_failure'):
        level, message = Level.WARN, f'{state}, but {backend_failure}'
    elif requested_device == 'auto' and model.get('device') == 'cpu':
        level = Level.WARN
        message = f'{state}, on the CPU: no CUDA device found (device:=cpu accepts that)'
    values = {'state': state, **model, 'memory_mb': f'{resident_mb():.0f}'}
    return Status(task='model', level=level, message=message, values=values)


def percentile(ordered: list[float], percent: float) -> float:
    """Smallest value that is not below `percent` of an ascending list; nan if it is empty."""
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]


def resident_mb() -> float:
    """Memory of this process in RAM, MB."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:  # no /proc: the peak is the next best
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return pages * resource.getpagesize() / 1e6
