"""`SegmentationEngine.step`: the next image of a camera in, its `FrameResult` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import copy

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.choice import make_backend
from dcfm_ros.backends.device import resolve_device
from dcfm_ros.images.preprocess import check_image, shrink
from dcfm_ros.keyframes.clip import segment_clip
from dcfm_ros.keyframes.execution import DeepExecution, make_execution
from dcfm_ros.keyframes.feature_cache import Keyframe
from dcfm_ros.keyframes.frame_result import FrameResult as FrameResult
from dcfm_ros.keyframes.motion import make_motion
from dcfm_ros.keyframes.schedule import FixedScheduler, Schedule
from dcfm_ros.keyframes.stage_timer import StageTimer
from dcfm_ros.keyframes.stream import KeyframeStream
from dcfm_ros.masks.class_mask import class_mask
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM

_SLICES = 4


class SegmentationEngine(KeyframeStream):
    """Segments a stream of images with the deep encoder on keyframes only.

    What is remembered from frame to frame is in `KeyframeStream`. One engine serves one camera
    (see `for_another_camera`); it is not thread-safe.
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
        motion: str = 'auto',
        precision: str = 'auto',
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
            motion: What is done about motion since the keyframe: 'none' (as in the paper) or
                'flow' (its feature is moved along the optical flow); 'auto': as `net.config` says.
            precision: What the network is computed in: 'fp32', 'bf16', 'fp16', or 'auto', that of
                `net`; see `backends.choice`.

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
        self._motion = make_motion(net.config.motion if motion == 'auto' else motion)
        self.net = net
        if isinstance(schedule, int):
            schedule = FixedScheduler(schedule)
        self.inference_height = inference_height or 0
        if slices is None:
            slices = getattr(schedule, 'interval', _SLICES)
        deep = make_execution(execution, slices) if isinstance(execution, str) else execution
        super().__init__(schedule, deep, max_age)
        if self.execution == 'async' and self._device.type != 'cpu':
            # Thread and frames would share a stream, and every frame would wait for the thread.
            raise ValueError(f"`execution` must not be 'async' on {self._device}, only on the CPU")
        self._backend = make_backend(
            backend,
            net,
            self._device,
            precision=precision,
            num_slices=getattr(deep, 'num_slices', 1),
            is_beside=self.execution == 'async',
        )

    @property
    def device(self) -> str:
        """Where the network runs: 'cpu' or 'cuda:<n>'."""
        return str(self._device)

    @property
    def execution(self) -> str:
        """When the deep encoder does its work: 'sync', 'amortised' or 'async'."""
        return self._deep.name

    @property
    def motion(self) -> str:
        """What is done about motion since the keyframe: 'none' or 'flow'."""
        return 'flow' if self._motion else 'none'

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
        """What the network is computed in: 'fp32', 'bf16' or 'fp16'."""
        return self._backend.precision

    def for_another_camera(self, phase: float = 0.0) -> SegmentationEngine:
        """An engine for another camera: it shares network and graphs, and has a state of its own.

        Engines that share must not work at the same time, since their backend is not thread-safe.
        Deep encoders beside the frames ('async') are, and share one thread, in which they wait for
        each other.

        Args:
            phase: Share of a fixed keyframe interval, in [0, 1), by which keyframes come later
                than a first camera's, so that they do not fall on one frame, nor do slices pile
                up: of N cameras, i / N. After the first keyframe, or another that nothing before
                counts for (a reset, ...), the second one comes earlier.

        Raises:
            ValueError: If `phase` is outside that.
        """
        if not 0 <= phase < 1:
            raise ValueError(f'`phase` must be at least 0 and below 1, got {phase}')
        other = copy.copy(self)
        other._backend = self._backend.for_another_camera()
        other._begin_anew(self.schedule, self._deep.for_another_camera(), phase)
        return other

    def encode_shallow(self, images: Sequence[NDArray[np.uint8]]) -> list[Independent]:
        """Encode images of one size, for `step_encoded`; as a batch where possible."""
        shrunk = [shrink(image, self.inference_height) for image in images]
        return self._backend.encode_together([self._backend.to_input(image) for image in shrunk])

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
        return self.step_encoded(image, stamp_ns)

    def step_encoded(
        self, image: NDArray[np.uint8], stamp_ns: int, independent: Independent | None = None
    ) -> FrameResult:
        """The same for an image that may have been encoded before, see `encode_shallow`."""
        check_image(image)
        number = self._frame
        self._frame += 1  # a frame that fails makes the feature older, too
        timer = StageTimer(self._device)
        with timer.stage('preprocess'):
            shrunk = shrink(image, self.inference_height)
            tensor = self._backend.to_input(shrunk) if independent is None else None
            picture = self._motion.picture(shrunk) if self._motion else None
        frame = Keyframe(number, (image.shape[0], image.shape[1]), stamp_ns, picture)
        if independent is None:
            with timer.stage('independent'):
                independent = self._backend.encode_independent(tensor)
        with timer.stage('preprocess'):
            seen = self._observe(shrunk, independent, frame)
            decision = self._decide(seen, frame)
        self._run_deep_encoder(timer, frame, decision, independent, seen)
        self._newest_ns = stamp_ns
        assert self._cache.common is not None
        is_keyframe, used = bool(decision.reason), self._cache.keyframe
        common = self._cache.common
        if self._motion and used != frame:
            with timer.stage('motion'):
                common = self._motion.align(common, used.picture, frame.picture)
        with timer.stage('decode'):
            logits = self._backend.decode([common], independent, is_keyframe=used == frame)
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
            motion=self._motion,
        )
