"""`SegmentationEngine.step`: the next image of a camera in, its `FrameResult` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import copy
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.clip import segment_clip
from dcfm_ros.deep_execution import DeepExecution, make_execution
from dcfm_ros.device import resolve_device
from dcfm_ros.feature_cache import FeatureCache, Keyframe
from dcfm_ros.frame_result import FrameResult as FrameResult
from dcfm_ros.mask import class_mask, mean_confidence
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.preprocess import check_image, shrink
from dcfm_ros.scheduler import Decision, FixedScheduler, Observation, Schedule
from dcfm_ros.timing import StageTimer

CANNOT_WAIT = ('first', 'size_change', 'time_jump', 'time_gap', 'reset', 'retry', 'max_age')
"""Reasons for a keyframe whose own feature is needed on that very frame."""
_SLICES = 4


class SegmentationEngine:
    """Segments a stream of images with the deep encoder on keyframes only.

    What is remembered from frame to frame is the schedule's own state, the `FeatureCache`, and the
    keyframe whose deep encoder is under way. One engine serves one camera; it is not thread-safe.
    """

    def __init__(
        self,
        net: DCFM,
        device: str = 'auto',
        backend: str = 'auto',
        schedule: Schedule | int = 2,
        inference_height: int | None = None,
        execution: str | DeepExecution = 'sync',
        slices: int | None = None,
        max_age: int | None = None,
    ) -> None:
        """Prepare a copy of `net` for inference.

        Args:
            net: The network; left as it is.
            device: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:<n>'.
            backend: 'auto' (OpenVINO on the CPU where it is installed, else PyTorch), 'torch',
                'openvino' or 'onnxruntime'; see `backends`.
            schedule: When keyframes are due; a number is a fixed keyframe interval in frames. The
                engine works with a copy, so that one schedule can be given to several engines.
            inference_height: Rows that the network works at; larger images are shrunk to it, the
                mask is at camera resolution all the same. None or 0: the camera's own.
            execution: When a keyframe's deep encoder does its work: 'sync' (on the keyframe, as in
                the paper), 'amortised' (in slices, one per frame) or 'async' (in a thread of its
                own); see `deep_execution`. The frames in the meantime use the keyframe before it.
            slices: Of an amortised keyframe; None: the fixed keyframe interval, or 4.
            max_age: Oldest feature in frames that may be used, at least 0; before one gets older
                the frame computes its own, or waits for one that is under way. None: no limit.

        Raises:
            ValueError: If an argument is outside these, or a CUDA device is asked for and absent.
            ImportError: If a backend is asked for that is not installed.
        """
        if inference_height is not None and inference_height < 0:
            raise ValueError(f'`inference_height` must be at least 0, got {inference_height}')
        if max_age is not None and max_age < 0:
            raise ValueError(f'`max_age` must be at least 0, got {max_age}')
        if slices is not None and slices < 1:
            raise ValueError(f'`slices` must be at least 1, got {slices}')
        self._device = resolve_device(device)
        self.net = net
        self.schedule: Schedule = (
            FixedScheduler(schedule) if isinstance(schedule, int) else copy.copy(schedule)
        )
        self.inference_height = inference_height or 0
        self.max_age = max_age
        """As given; may be changed between two frames, like the limits after it."""
        self.max_age_s: float | None = None
        """The same in seconds between the stamps; both hold. None: no limit."""
        self.max_time_gap_s: float | None = None
        """A frame whose stamp lies farther than this after the frame before it is a keyframe;
        seconds. None: however far."""
        if slices is None:
            slices = getattr(self.schedule, 'interval', _SLICES)
        self._deep = make_execution(execution, slices) if isinstance(execution, str) else execution
        if self.execution == 'async' and self._device.type != 'cpu':
            # Thread and frames would share a stream, and every frame would wait for the thread.
            raise ValueError(f"`execution` must not be 'async' on {self._device}, only on the CPU")
        self._backend = make_backend(
            backend,
            net,
            self._device,
            num_slices=getattr(self._deep, 'num_slices', 1),
            is_beside=self.execution == 'async',
        )
        self._cache = FeatureCache()
        self._begun = self._cache.keyframe
        self._frame = 0
        self._newest_ns = 0
        self._first_confidence = math.nan, self._begun
        self._confidence_drop = math.nan

    @property
    def device(self) -> str:
        """Where the network runs: 'cpu' or 'cuda:<n>'."""
        return str(self._device)

    @property
    def execution(self) -> str:
        """When the deep encoder does its work: 'sync', 'amortised' or 'async'."""
        return self._deep.name

    @property
    def backend(self) -> str:
        """What runs the network now: 'torch', 'openvino' or 'onnxruntime'."""
        return self._backend.name

    @property
    def backend_failure(self) -> str:
        """Why that is PyTorch by now, and not what it was at first; '' if it is that."""
        return self._backend.failure

    @property
    def precision(self) -> str:
        """What the network is computed in: 'fp32' or 'bf16'."""
        return self._backend.precision

    def step(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        """Segment the next frame of the stream.

        A keyframe runs both encoders and refills the cache; a non-key frame runs only the
        shallow encoder and reuses the cached common feature. Where the deep encoder is not done at
        once (`execution`), the frames after the keyframe take part in it, or find it done.

        Args:
            image: RGB, (H, W, 3). A change of H or W makes this frame a keyframe.
            stamp_ns: Acquisition time in nanoseconds; a step back in time makes a keyframe.

        Raises:
            ValueError: If the image is not uint8 RGB with at least one pixel.
        """
        check_image(image)
        frame = Keyframe(self._frame, (image.shape[0], image.shape[1]), stamp_ns)
        self._frame += 1  # a frame that fails makes the feature older, too
        timer = StageTimer(self._device)
        with timer.stage('preprocess'):
            shrunk = shrink(image, self.inference_height)
            tensor = self._backend.to_input(shrunk)
        with timer.stage('independent'):
            independent = self._backend.encode_independent(tensor)
        with timer.stage('preprocess'):
            seen = self._observe(shrunk, independent, frame)
            decision = self._decide(seen, frame)
        self._run_deep_encoder(timer, frame, decision, independent, seen)
        self._newest_ns = stamp_ns
        assert self._cache.common is not None
        is_keyframe, used = bool(decision.reason), self._cache.keyframe
        with timer.stage('decode'):
            logits = self._backend.decode(
                [self._cache.common], independent, is_keyframe=used == frame
            )
        with timer.stage('mask'):
            mask = class_mask(logits, frame.size)
            self._confidence_drop = self._measure_confidence(logits, used)
        return FrameResult(
            mask=mask,
            is_keyframe=is_keyframe,
            reason=decision.reason,
            keyframe_age=frame.number - used.number,
            feature_age_ms=(stamp_ns - used.stamp_ns) / 1e6,
            change_score=decision.change_score,
            stage_ms=timer.stage_ms,
            stamp_ns=stamp_ns,
            logits=logits,
        )

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

    def segment_clip(
        self, images: Sequence[NDArray[np.uint8]], start: int = 0, mode: str = 'both'
    ) -> Iterator[FrameResult]:
        """Segment a recorded clip offline, fusing with the following keyframe too (B mode).

        Needs the future, so it is not for a live camera. Where the next keyframe lies is the
        schedule's to tell, see `decide_clip`; an adaptive one looks at the frames up to it ahead,
        so that most are read twice, and encoded twice if it compares features. Leaves the stream
        state of `step` alone.

        Args:
            images: RGB frames of one size, (H, W, 3); anything with a length and an index.
            start: First keyframe; the frames before it use that keyframe.
            mode: 'both' (previous and following keyframe, logits averaged) or 'past'.

        Yields:
            One result per frame, in order; `stamp_ns` is the frame's number.

        Raises:
            ValueError: If an image is not uint8 RGB or differs in size, or an argument is wrong.
        """
        return segment_clip(
            images,
            self._backend,
            self._device,
            self.schedule,
            self.inference_height,
            start=start,
            mode=mode,
        )

    def _observe(
        self, image: NDArray[np.uint8], independent: Independent, frame: Keyframe
    ) -> Observation:
        return Observation(
            image=image,
            feature=independent.feature,
            age=frame.number - self._begun.number,
            age_s=(frame.stamp_ns - self._begun.stamp_ns) / 1e9,
            confidence_drop=self._confidence_drop,
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
        if common is not None:
            cache.store(common, begun)
