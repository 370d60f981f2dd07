"""Segmenting a recorded clip, where the following keyframe can be used, too (B mode)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.interface import Backend
from dcfm_ros.images.preprocess import check_image, shrink
from dcfm_ros.keyframes.frame_result import FrameResult
from dcfm_ros.keyframes.motion import FlowChain, Picture
from dcfm_ros.keyframes.schedule import Decision, Observation, Schedule
from dcfm_ros.keyframes.stage_timer import StageTimer


class ClipReader:
    """Reads the images of a clip and checks each."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self.size: tuple[int, int] | None = None
        """(H, W) of every image; None before the first is read."""
        self._images = images

    def read(self, index: int) -> NDArray[np.uint8]:
        """One image; ValueError unless it is RGB, uint8, and of the same size as the others."""
        image = self._images[index]
        check_image(image)
        self.size = self.size or (image.shape[0], image.shape[1])
        if image.shape[:2] != self.size:
            raise ValueError(f'`images` must be of one size, got {self.size} and {image.shape}')
        return image


@dataclass(frozen=True)
class ClipStep:
    """Which keyframes a frame of a clip is fused with; a keyframe is its own `previous`."""

    frame: int
    previous: int | None
    following: int | None
    decision: Decision

    @property
    def is_keyframe(self) -> bool:
        """Whether the frame runs the deep encoder itself."""
        return self.previous == self.frame


def plan_clip(decisions: Iterable[Decision], mode: str = 'both') -> Iterator[ClipStep]:
    """Every frame of a clip in order, with its keyframes (paper IV-B and Algorithm 1).

    Frames before the first keyframe use only the following one, in either mode; frames after the
    last keyframe only the previous one. Reads decisions no further than the following keyframe.

    Args:
        decisions: The schedule's, one per frame.
        mode: 'both' (B mode: previous and following keyframe) or 'past' (P mode: previous only).

    Raises:
        ValueError: If `mode` is neither.
    """
    if mode not in ('both', 'past'):
        raise ValueError(f"`mode` must be 'both' or 'past', got {mode!r}")
    previous: int | None = None
    waiting: list[tuple[int, Decision]] = []  # for the following keyframe
    for frame, decision in enumerate(decisions):
        if decision.reason:
            yield from (ClipStep(index, previous, frame, other) for index, other in waiting)
            waiting.clear()
            previous = frame
            yield ClipStep(frame, frame, None, decision)
        elif mode == 'past' and previous is not None:
            yield ClipStep(frame, previous, None, decision)
        else:
            waiting.append((frame, decision))
    yield from (ClipStep(index, previous, None, other) for index, other in waiting)


class _Encoded(NamedTuple):
    """A frame waiting to be decoded."""

    timer: StageTimer
    independent: Any
    picture: Picture | None


def segment_clip(
    images: Sequence[NDArray[np.uint8]],
    backend: Backend,
    schedule: Schedule,
    height: int = 0,
    size_multiple: int = 1,
    *,
    start: int = 0,
    mode: str = 'both',
    has_motion: bool = False,
    temperature: float = 1.0,
) -> Iterator[FrameResult]:
    """Segment a clip at `height` rows (0: its own); see `SegmentationEngine.segment_clip`.

    `schedule` is left as it is; without motion features stay where their keyframes had them;
    `temperature` is that of the confidence.
    """
    reader = ClipReader(images)
    motion = FlowChain() if has_motion else None

    def look(index: int) -> Observation:
        image = shrink(reader.read(index), height, size_multiple)
        if not schedule.uses_feature:
            return Observation(image=image)
        independent = backend.encode_independent(backend.to_input(image))
        return Observation(image=image, digest=backend.digest(independent))

    cached: dict[int, tuple[Any, Picture | None]] = {}  # at most two keyframes
    ahead: dict[int, _Encoded] = {}
    for plan in plan_clip(schedule.decide_clip(len(images), look, start), mode):
        keyframes = [i for i in (plan.previous, plan.following) if i is not None]
        cached = {index: held for index, held in cached.items() if index in keyframes}
        for index in (*(i for i in keyframes if i not in cached), plan.frame):
            if index in ahead:
                continue
            image = reader.read(index)
            timer = StageTimer(backend.wait)
            with timer.stage('preprocess'):
                shrunk = shrink(image, height, size_multiple)
                given = backend.to_input(shrunk)
                picture = motion.flow.picture(shrunk) if motion else None
            with timer.stage('independent'):
                independent = backend.encode_independent(given)
            if index in keyframes:
                with timer.stage('common'):
                    cached[index] = backend.encode_common(independent), picture
            ahead[index] = _Encoded(timer, independent, picture)
        timer, independent, picture = ahead.pop(plan.frame)
        assert reader.size is not None
        common = [cached[index][0] for index in keyframes]
        if motion and picture is not None:
            others = [cached[index][1] for index in keyframes if index != plan.frame]
            with timer.stage('motion') if others else nullcontext():
                motion.add(picture, others)
                common = [
                    backend.warp(feature, at)
                    if (at := motion.places(then, backend.grid(feature)))
                    else feature
                    for feature, then in (cached[index] for index in keyframes)
                ]
        with timer.stage('decode'):
            logits = backend.decode(common, independent)
        with timer.stage('mask'):
            mask = backend.class_mask(logits, reader.size)
        yield FrameResult(
            mask=mask,
            is_keyframe=plan.is_keyframe,
            reason=plan.decision.reason,
            keyframe_age=min(abs(plan.frame - index) for index in keyframes),
            feature_age_ms=math.nan,
            change_score=plan.decision.change_score,
            stage_ms=timer.stage_ms,
            stamp_ns=plan.frame,
            _logits=logits,
            _backend=backend,
            _temperature=temperature,
        )
