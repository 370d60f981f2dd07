"""`KeyframeSelector`: the frames of one camera, and which of them become keyframes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.keyframes.adaptive_schedule import make_schedule
from dcfm_ros.keyframes.feature_cache import FeatureCache, FrameInfo
from dcfm_ros.keyframes.schedule import Decision, Observation
from dcfm_ros.keyframes.schedule_options import ScheduleOptions

_RESTARTS = ('first', 'size_change', 'time_jump', 'time_gap', 'reset')
"""Reasons that void everything before the keyframe."""
_CANNOT_WAIT = (*_RESTARTS, 'retry', 'max_age')
"""Reasons that need the keyframe's own feature on that very frame."""


class KeyframeSelector:
    """Counts the frames of one camera and decides which become keyframes.

    Its state: what the schedule keeps of the last keyframe, and the feature cache.
    """

    def __init__(self, options: ScheduleOptions, phase: float = 0.0) -> None:
        """Start before the first frame; `phase` as in `SegmentationEngine.for_another_camera`."""
        self.cache = FeatureCache()
        self._options = options
        self._schedule = make_schedule(options)
        self._phase = phase
        self._next_phase = 0.0
        self._before: FrameInfo | None = None
        self.begun = self.cache.keyframe
        """The newest keyframe; its deep encoder may not be finished."""
        self._num_frames = 0
        self._newest_ns = 0

    @property
    def options(self) -> ScheduleOptions:
        """When keyframes are due; a new value applies from the next frame on."""
        return self._options

    @options.setter
    def options(self, options: ScheduleOptions) -> None:
        if options != self._options:
            self._options = options
            self._schedule = make_schedule(options, self._schedule)

    def new_frame(self, size: tuple[int, int], stamp_ns: int) -> FrameInfo:
        """Count a frame, before anything can fail: a failed frame ages the feature, too."""
        frame = FrameInfo(self._num_frames, size, stamp_ns)
        self._num_frames += 1
        return frame

    @property
    def uses_feature(self) -> bool:
        """Whether `observe` must be given a digest."""
        return self._schedule.uses_feature

    def observe(
        self, frame: FrameInfo, image: NDArray[np.uint8], digest: NDArray[np.float32] | None
    ) -> Observation:
        """What the schedule is shown of a frame."""
        age = frame.number - self.begun.number
        return Observation(image=image, digest=digest, age=age, phase=self._next_phase)

    def decide(self, frame: FrameInfo, seen: Observation, *, is_encoding: bool) -> Decision:
        """Whether a frame becomes a keyframe, that is, begins its deep encoder.

        A frame that cannot use the cache always does. Otherwise the schedule decides, except
        while the deep encoder of another keyframe is still at work (`is_encoding`) whose feature
        is not too old for the frame.
        """
        restart = self._restart_reason(frame)
        self._before = None if restart else self.cache.keyframe
        if restart:
            return Decision(restart)
        decision = self._schedule.decide(seen)
        newest = self.begun if is_encoding else self.cache.keyframe
        if self._is_too_old(frame, newest):
            return decision if decision.is_keyframe else decision._replace(reason='max_age')
        return decision._replace(reason='') if is_encoding else decision

    def cannot_wait(self, frame: FrameInfo, decision: Decision) -> bool:
        """Whether a frame needs the feature being computed at once, not slice by slice."""
        return decision.reason in _CANNOT_WAIT or self._is_too_old(frame, self.cache.keyframe)

    def set_keyframe(self, frame: FrameInfo, seen: Observation, decision: Decision) -> None:
        """Record a keyframe whose deep encoder has begun."""
        self._schedule.set_keyframe(seen)
        self.begun = frame
        self._next_phase = self._phase if decision.reason in _RESTARTS else 0.0

    def keyframe_before(self, frame: FrameInfo) -> FrameInfo | None:
        """The keyframe whose feature a frame uses, or that of the frame before if it is its own.

        None after a restart, when nothing before the frame counts.
        """
        used = self.cache.keyframe
        return used if used is not frame else self._before

    def accept(self, frame: FrameInfo) -> None:
        """Record that a frame has a feature to use; the next stamp is compared with its own."""
        self._newest_ns = frame.stamp_ns

    def _restart_reason(self, frame: FrameInfo) -> str:
        cache = self.cache
        if cache.common is None:
            return cache.reason_cleared
        if cache.keyframe.size != frame.size:
            return 'size_change'
        gap_s = (frame.stamp_ns - self._newest_ns) / 1e9
        if gap_s < 0:
            return 'time_jump'
        return 'time_gap' if 0 < self._options.max_time_gap_s < gap_s else ''

    def _is_too_old(self, frame: FrameInfo, keyframe: FrameInfo) -> bool:
        age_s = (frame.stamp_ns - keyframe.stamp_ns) / 1e9
        return 0 < self._options.max_feature_age_s < age_s
