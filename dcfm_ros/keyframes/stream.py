"""What an engine knows of the frames of its camera, and which of them become keyframes."""

from __future__ import annotations

import copy
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcfm_ros.backends.interface import Backend
from dcfm_ros.keyframes.execution import DeepExecution
from dcfm_ros.keyframes.feature_cache import FeatureCache, Keyframe
from dcfm_ros.keyframes.schedule import Decision, Observation, Schedule
from dcfm_ros.keyframes.stage_timer import StageTimer
from dcfm_ros.masks.class_mask import mean_confidence
from dcfm_ros.models.backbone import Independent

RESTARTS = ('first', 'size_change', 'time_jump', 'time_gap', 'reset')
"""Reasons for a keyframe that nothing before it counts for."""
CANNOT_WAIT = (*RESTARTS, 'retry', 'max_age')
"""Reasons for a keyframe whose own feature is needed on that very frame."""


class KeyframeStream:
    """The state of one camera.

    That is the schedule's own state, the feature in use, and the keyframe whose deep encoder is
    under way.
    """

    schedule: Schedule
    _backend: Backend

    def __init__(self, schedule: Schedule, deep: DeepExecution, max_age: int | None) -> None:
        self.max_age = max_age
        """As given; may be changed between two frames, like the limits after it."""
        self.max_age_s: float | None = None
        """The same in seconds between the stamps; both hold. None: no limit."""
        self.max_time_gap_s: float | None = None
        """A frame whose stamp lies farther than this after the frame before it is a keyframe;
        seconds. None: however far."""
        self._begin_anew(schedule, deep)

    def reset(self) -> None:
        """Forget the cached feature: the next frame becomes a keyframe."""
        self._deep.cancel()
        self._cache.clear('reset')

    def use_schedule(self, schedule: Schedule) -> None:
        """Decide by another schedule from the next frame on, by a copy of it.

        It is told what the present one knows of the last keyframe. An adaptive schedule after a
        fixed one, or after one with another score, has nothing to compare with: the next frame
        that its least interval allows is a keyframe.
        """
        schedule = copy.copy(schedule)
        schedule.follow(self.schedule)
        self.schedule = schedule

    def _begin_anew(self, schedule: Schedule, deep: DeepExecution, phase: float = 0.0) -> None:
        """Take a copy of a schedule, and know of no frame."""
        self.schedule = copy.copy(schedule)
        self._deep = deep
        self._phase = phase
        self._next_phase = 0.0
        self._cache = FeatureCache()
        self._begun = self._cache.keyframe
        self._frame = 0
        self._newest_ns = 0
        self._first_confidence = math.nan, self._begun
        self._confidence_drop = math.nan

    def _observe(
        self, image: NDArray[np.uint8], independent: Independent, frame: Keyframe
    ) -> Observation:
        return Observation(
            image=image,
            feature=independent.feature,
            age=frame.number - self._begun.number,
            age_s=(frame.stamp_ns - self._begun.stamp_ns) / 1e9,
            confidence_drop=self._confidence_drop,
            phase=self._next_phase,
        )

    def _decide(self, seen: Observation, frame: Keyframe) -> Decision:
        """Whether the cache may be used at all, else what the schedule says.

        A frame is a keyframe if its deep encoder is begun; while another one's is under way, that
        has to wait.
        """
        cache = self._cache
        if cache.common is None:
            return Decision(cache.reason_cleared)
        if cache.keyframe.size != frame.size:
            return Decision('size_change')
        if frame.stamp_ns < self._newest_ns:
            return Decision('time_jump')
        gap_s = (frame.stamp_ns - self._newest_ns) / 1e9
        if self.max_time_gap_s is not None and gap_s > self.max_time_gap_s:
            return Decision('time_gap')
        decision = self.schedule.decide(seen)
        if self._deep.is_busy:
            return decision._replace(reason='')
        if not decision.reason and self._is_too_old(frame):
            return decision._replace(reason='max_age')
        return decision

    def _is_too_old(self, frame: Keyframe) -> bool:
        """Whether the cached feature is too old for a frame."""
        used = self._cache.keyframe
        if self.max_age is not None and frame.number - used.number > self.max_age:
            return True
        age_s = (frame.stamp_ns - used.stamp_ns) / 1e9
        return self.max_age_s is not None and age_s > self.max_age_s

    def _measure_confidence(self, logits: Tensor, used: Keyframe) -> float:
        """See `Observation.confidence_drop`, of the frame after this one."""
        if not self.schedule.uses_confidence:
            return math.nan
        confidence = mean_confidence(logits)
        first, keyframe = self._first_confidence
        if math.isnan(first) or keyframe != used:
            first = confidence
            self._first_confidence = first, used
        return first - confidence

    def _run_deep_encoder(
        self,
        timer: StageTimer,
        frame: Keyframe,
        decision: Decision,
        independent: Independent,
        seen: Observation,
    ) -> None:
        """Begin or go on with a keyframe; afterwards the cache holds what this frame may use."""
        deep, cache = self._deep, self._cache
        is_keyframe = bool(decision.reason)
        if not is_keyframe and not deep.is_busy:
            return
        if is_keyframe:
            deep.cancel()
            deep.begin(self._backend.deep_task(independent))
        cannot_wait = decision.reason in CANNOT_WAIT or self._is_too_old(frame)
        begun = frame if is_keyframe else self._begun
        try:
            with timer.stage('common'):
                common = deep.finish() if cannot_wait else deep.advance()
        except Exception:
            if not is_keyframe:  # a frame later than that which it belongs to
                cache.clear('retry')
            raise
        if is_keyframe:
            self.schedule.set_keyframe(seen)
            self._begun = begun
            self._next_phase = self._phase if decision.reason in RESTARTS else 0.0
        if common is not None:
            cache.store(common, begun)
