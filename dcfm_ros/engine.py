"""`SegmentationEngine.step`: the next image of a camera in, its `FrameResult` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import copy
from dataclasses import dataclass, field
from functools import cached_property
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.clip import ClipReader, plan_clip
from dcfm_ros.deep_execution import DeepExecution, make_execution
from dcfm_ros.device import resolve_device
from dcfm_ros.feature_cache import FeatureCache, Keyframe
from dcfm_ros.mask import class_mask, confidence_map
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.preprocess import check_image, shrink
from dcfm_ros.scheduler import Decision, FixedScheduler, Schedule
from dcfm_ros.timing import StageTimer

CANNOT_WAIT = ('first', 'size_change', 'time_jump', 'reset', 'retry', 'max_age')
"""Reasons for a keyframe whose own feature is needed on that very frame."""
_SLICES = 4


@dataclass(eq=False, kw_only=True)
class FrameResult:
    """What the engine found in one frame."""

    mask: NDArray[np.uint8]
    """Class of every pixel at camera resolution, (H, W)."""
    is_keyframe: bool
    """True if the deep encoder was begun on this frame; in execution 'sync' it is done too."""
    reason: str
    """Why it was a keyframe: 'first', 'size_change', 'time_jump', 'reset', the schedule's
    'interval', 'change' or 'max_interval', 'max_age', 'retry' (the deep encoder had failed), or
    'last' of a clip; '' if it was none."""
    keyframe_age: int
    """Frames since the keyframe whose common feature was used, 0 if it is this frame's own."""
    feature_age_ms: float
    """The same in ms between the stamps; in a clip, where stamps are numbers, nan."""
    change_score: float
    """How much the image differs from that of the keyframe before it, see `change_score`; nan
    where the schedule does not ask, or had none to compare with: 'first', 'reset', ..."""
    stage_ms: dict[str, float]
    """Duration in ms of preprocess (with the schedule's decision), independent, common (where
    the deep encoder worked on this frame), decode and mask."""
    stamp_ns: int
    """Acquisition time of the frame, as given."""
    logits: Tensor = field(repr=False)
    """Class logits on the feature grid, (1, K, h, w)."""

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """Probability of the chosen class, (H, W) in (0, 1]; computed when first asked for."""
        height, width = self.mask.shape
        return confidence_map(self.logits, (height, width))


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
        self.max_age = math.inf if max_age is None else max_age
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
            decision = self._decide(shrunk, frame)
        with timer.stage('independent'):
            independent = self._backend.encode_independent(tensor)
        self._run_deep_encoder(timer, frame, decision, independent, shrunk)
        self._newest_ns = stamp_ns
        assert self._cache.common is not None
        is_keyframe, used = bool(decision.reason), self._cache.keyframe
        logits, mask = self._decode(
            timer, [self._cache.common], independent, frame.size, used == frame
        )
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

    def segment_clip(
        self, images: Sequence[NDArray[np.uint8]], start: int = 0, mode: str = 'both'
    ) -> Iterator[FrameResult]:
        """Segment a recorded clip offline, fusing with the following keyframe too (B mode).

        Needs the future, so it is not for a live camera. Where the next keyframe lies is the
        schedule's to tell, see `decide_clip`; an adaptive one reads the images up to it ahead, so
        that most are read twice. Leaves the stream state of `step` alone.

        Args:
            images: RGB frames of one size, (H, W, 3); anything with a length and an index.
            start: First keyframe; the frames before it use that keyframe.
            mode: 'both' (previous and following keyframe, logits averaged) or 'past'.

        Yields:
            One result per frame, in order; `stamp_ns` is the frame's number.

        Raises:
            ValueError: If an image is not uint8 RGB or differs in size, or an argument is wrong.
        """
        reader = ClipReader(images)
        decisions = self.schedule.decide_clip(
            len(images), lambda index: shrink(reader.read(index), self.inference_height), start
        )
        cached: dict[int, Tensor] = {}  # at most the previous and the following keyframe
        ahead: dict[int, tuple[StageTimer, Independent]] = {}
        for plan in plan_clip(decisions, mode):
            keyframes = [i for i in (plan.previous, plan.following) if i is not None]
            cached = {index: common for index, common in cached.items() if index in keyframes}
            for index in (*(i for i in keyframes if i not in cached), plan.frame):
                if index in ahead:
                    continue
                image = reader.read(index)
                timer = StageTimer(self._device)
                with timer.stage('preprocess'):
                    tensor = self._backend.to_input(shrink(image, self.inference_height))
                with timer.stage('independent'):
                    independent = self._backend.encode_independent(tensor)
                if index in keyframes:
                    with timer.stage('common'):
                        cached[index] = self._backend.encode_common(independent)
                ahead[index] = timer, independent
            timer, independent = ahead.pop(plan.frame)
            assert reader.size is not None
            common = [cached[index] for index in keyframes]
            logits, mask = self._decode(timer, common, independent, reader.size, plan.is_keyframe)
            yield FrameResult(
                mask=mask,
                is_keyframe=plan.is_keyframe,
                reason=plan.decision.reason,
                keyframe_age=min(abs(plan.frame - index) for index in keyframes),
                feature_age_ms=math.nan,
                change_score=plan.decision.change_score,
                stage_ms=timer.stage_ms,
                stamp_ns=plan.frame,
                logits=logits,
            )

    def _decide(self, image: NDArray[np.uint8], frame: Keyframe) -> Decision:
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
        decision = self.schedule.decide(image, frame.number - self._begun.number)
        if self._deep.is_busy:
            return decision._replace(reason='')
        if not decision.reason and frame.number - cache.keyframe.number > self.max_age:
            return decision._replace(reason='max_age')
        return decision

    def _run_deep_encoder(
        self,
        timer: StageTimer,
        frame: Keyframe,
        decision: Decision,
        independent: Independent,
        image: NDArray[np.uint8],
    ) -> None:
        """Begin or go on with a keyframe; afterwards the cache holds what this frame may use."""
        deep, cache = self._deep, self._cache
        is_keyframe = bool(decision.reason)
        if not is_keyframe and not deep.is_busy:
            return
        if is_keyframe:
            deep.cancel()
            deep.begin(self._backend.deep_task(independent))
        using = frame.number - cache.keyframe.number
        cannot_wait = decision.reason in CANNOT_WAIT or using > self.max_age
        begun = frame if is_keyframe else self._begun
        try:
            with timer.stage('common'):
                common = deep.finish() if cannot_wait else deep.advance()
        except Exception:
            if not is_keyframe:  # a frame later than that which it belongs to
                cache.clear('retry')
            raise
        if is_keyframe:
            self.schedule.set_keyframe(image)
            self._begun = begun
        if common is not None:
            cache.store(common, begun)

    def _decode(
        self,
        timer: StageTimer,
        cached: list[Tensor],
        independent: Independent,
        size: tuple[int, int],
        is_keyframe: bool,
    ) -> tuple[Tensor, NDArray[np.uint8]]:
        with timer.stage('decode'):
            logits = self._backend.decode(cached, independent, is_keyframe=is_keyframe)
        with timer.stage('mask'):
            mask = class_mask(logits, size)
        return logits, mask
