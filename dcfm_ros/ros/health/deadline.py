"""`ProcessingDeadline`: are the frames of a camera processed in time?

The three parameters and the values of the status are those of Autoware's perception nodes.
"""

from __future__ import annotations

import math
import threading

from dcfm_ros.ros.health.status import Level, Status


class ProcessingDeadline:
    """Judges the processing time of each frame; safe to use from any thread.

    Late frames in a row add up until one is in time again. Only the time spent on them counts, so
    that a pause of the camera is not a delay. The frame being processed is late as soon as its
    time is up: a worker that hangs is reported too.

    Times are seconds of a steady clock, given by the caller.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun_s: float | None = None
        self._longest_ms = math.nan  # of the frames since the last check, or of the last one
        self._is_checked = False
        self._late_ms = 0.0

    def restart(self) -> None:
        """Forget all frames, as when the node becomes active."""
        with self._lock:
            self._begun_s, self._longest_ms, self._late_ms = None, math.nan, 0.0

    def begin(self, now: float) -> None:
        """Note that the processing of a frame begins."""
        with self._lock:
            self._begun_s = now

    def end(self, now: float, max_allowed_ms: float) -> None:
        """Note that it is done; it may take `max_allowed_ms`, 0: no limit."""
        with self._lock:
            if self._begun_s is None:
                return
            took_ms, self._begun_s = (now - self._begun_s) * 1e3, None
            self._late_ms = self._late_ms + took_ms if 0 < max_allowed_ms < took_ms else 0.0
            longest_ms = math.nan if self._is_checked else self._longest_ms
            self._longest_ms = took_ms if math.isnan(longest_ms) else max(took_ms, longest_ms)
            self._is_checked = False

    def check(self, now: float, max_allowed_ms: float, max_consecutive_ms: float) -> Status:
        """Judge the slowest frame since the last check, and the one being processed.

        Args:
            now: Steady clock, s.
            max_allowed_ms: Limit of one frame, above which is a warning; 0: none.
            max_consecutive_ms: Limit of late frames in a row, above which is an error; 0: none.
        """
        with self._lock:
            slowest_ms, late_ms, self._is_checked = self._longest_ms, self._late_ms, True
            current_ms = 0.0 if self._begun_s is None else (now - self._begun_s) * 1e3
        if current_ms > (max_allowed_ms or math.inf):
            slowest_ms = current_ms if math.isnan(slowest_ms) else max(slowest_ms, current_ms)
            late_ms += current_ms
        is_late = 0 < max_allowed_ms < slowest_ms
        is_behind = is_late and 0 < max_consecutive_ms < late_ms
        level, message = Level.OK, f'{slowest_ms:.1f} ms per frame at most'
        allowed = f'allowed are {max_allowed_ms:.1f} ms each'
        if is_behind:
            level, message = Level.ERROR, f'frames in a row were late for {late_ms:.0f} ms'
            message += f', {allowed} and {max_consecutive_ms:.0f} ms in a row'
        elif is_late:
            level, message = Level.WARN, f'a frame took {slowest_ms:.1f} ms, {allowed}'
        elif math.isnan(slowest_ms):
            message = 'no frame yet'
        values = {
            'is_processing_time_ms_in_expected_range': str(not is_late),
            'processing_time_ms': f'{slowest_ms:.2f}',
            'is_consecutive_processing_delay_in_range': str(not is_behind),
            'consecutive_processing_delay_ms': f'{late_ms:.2f}',
        }
        return Status(task='processing_time', level=level, message=message, values=values)
