"""`SegmentationEngine.step`: the next image of a camera in, its `FrameResult` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import copy
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.clip import ClipReader, plan_clip
from dcfm_ros.feature_cache import FeatureCache
from dcfm_ros.mask import class_mask, confidence_map
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.preprocess import check_image, shrink
from dcfm_ros.scheduler import Decision, FixedScheduler, Schedule
from dcfm_ros.timing import StageTimer

BACKENDS = ('auto', 'torch')


@dataclass(eq=False, kw_only=True)
class FrameResult:
    """What the engine found in one frame."""

    mask: NDArray[np.uint8]
    """Class of every pixel at camera resolution, (H, W)."""
    is_keyframe: bool
    """True if the deep encoder ran on this frame."""
    reason: str
    """Why it was a keyframe: 'first', 'size_change', 'time_jump', 'reset', the schedule's
    'interval', 'change' or 'max_interval', or 'last' of a clip; '' if it was none."""
    keyframe_age: int
    """Frames since the keyframe whose common feature was used, 0 on a keyframe."""
    change_score: float
    """How much the image differs from that of the keyframe before it, see `change_score`; nan
    where the schedule does not ask, or had none to compare with: 'first', 'reset', ..."""
    stage_ms: dict[str, float]
    """Duration in ms of preprocess (with the schedule's decision), independent, common (keyframes
    only), decode and mask."""
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

    What is remembered from frame to frame is the schedule's own state and the `FeatureCache`. One
    engine serves one camera; it is not thread-safe.
    """

    def __init__(
        self,
        net: DCFM,
        device: str = 'auto',
        backend: str = 'auto',
        schedule: Schedule | int = 2,
        inference_height: int | None = None,
    ) -> None:
        """Prepare a copy of `net` for inference.

        Args:
            net: The network; left as it is.
            device: 'auto' (CUDA where there is one), 'cpu', 'cuda' or 'cuda:<n>'.
            backend: 'auto' or 'torch'.
            schedule: When keyframes are due; a number is a fixed keyframe interval in frames. The
                engine works with a copy, so that one schedule can be given to several engines.
            inference_height: Rows that the network works at; larger images are shrunk to it, the
                mask is at camera resolution all the same. None or 0: the camera's own.

        Raises:
            ValueError: If an argument is outside these, or a CUDA device is asked for and absent.
        """
        if backend not in BACKENDS:
            raise ValueError(f'`backend` must be one of {", ".join(BACKENDS)}, got {backend!r}')
        if inference_height is not None and inference_height < 0:
            raise ValueError(f'`inference_height` must be at least 0, got {inference_height}')
        self._device = resolve_device(device)
        self.net = net
        self.schedule: Schedule = (
            FixedScheduler(schedule) if isinstance(schedule, int) else copy.copy(schedule)
        )
        self.inference_height = inference_height or 0
        self._backend = TorchBackend(net, self._device)
        self._cache = FeatureCache()

    @property
    def device(self) -> str:
        """Where the network runs: 'cpu' or 'cuda:<n>'."""
        return str(self._device)

    @property
    def backend(self) -> str:
        """What runs the network: 'torch'."""
        return self._backend.name

    def step(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        """Segment the next frame of the stream.

        A keyframe runs both encoders and refills the cache; a non-key frame runs only the
        shallow encoder and reuses the cached common feature.

        Args:
            image: RGB, (H, W, 3). A change of H or W makes this frame a keyframe.
            stamp_ns: Acquisition time in nanoseconds; a step back in time makes a keyframe.

        Raises:
            ValueError: If the image is not uint8 RGB with at least one pixel.
        """
        check_image(image)
        size = (image.shape[0], image.shape[1])
        timer = StageTimer(self._device)
        with timer.stage('preprocess'):
            shrunk = shrink(image, self.inference_height)
            tensor = self._backend.to_input(shrunk)
            decision = self._decide(shrunk, size, stamp_ns)
        with timer.stage('independent'):
            independent = self._backend.encode_independent(tensor)
        is_keyframe = bool(decision.reason)
        if is_keyframe:
            with timer.stage('common'):
                common = self._backend.encode_common(independent)
            self._cache.store(common, size, stamp_ns)
            self.schedule.set_keyframe(shrunk)
        else:
            self._cache.use(stamp_ns)
        assert self._cache.common is not None
        logits, mask = self._decode(timer, [self._cache.common], independent, size, is_keyframe)
        return FrameResult(
            mask=mask,
            is_keyframe=is_keyframe,
            reason=decision.reason,
            keyframe_age=self._cache.age,
            change_score=decision.change_score,
            stage_ms=timer.stage_ms,
            stamp_ns=stamp_ns,
            logits=logits,
        )

    def reset(self) -> None:
        """Forget the cached feature: the next frame becomes a keyframe."""
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
                change_score=plan.decision.change_score,
                stage_ms=timer.stage_ms,
                stamp_ns=plan.frame,
                logits=logits,
            )

    def _decide(self, image: NDArray[np.uint8], size: tuple[int, int], stamp_ns: int) -> Decision:
        """Whether the cache may be used at all, else what the schedule says."""
        cache = self._cache
        if cache.common is None:
            return Decision(cache.reason_cleared)
        if cache.size != size:
            return Decision('size_change')
        if stamp_ns < cache.stamp_ns:
            return Decision('time_jump')
        return self.schedule.decide(image, cache.age + 1)

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


def resolve_device(device: str) -> torch.device:
    """The torch device that a name means.

    Raises:
        ValueError: If the name is unknown, or asks for a CUDA device that is absent.
    """
    if device == 'auto':
        return torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')
    if device == 'cpu':
        return torch.device('cpu')
    kind, _, index = device.partition(':')
    if kind != 'cuda' or not (index.isdecimal() or device == 'cuda'):
        raise ValueError(f'`device` must be auto, cpu, cuda or cuda:<n>, got {device!r}')
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise ValueError(f'`device` {device!r} is absent: torch sees {count} CUDA device(s)')
    return torch.device('cuda', int(index or 0))
