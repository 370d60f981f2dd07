"""`SegmentationEngine.step`: the next image of a camera in, its `FrameResult` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.choice import Network, make_backend
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.warp import Places
from dcfm_ros.engine_options import EngineOptions as EngineOptions
from dcfm_ros.images.preprocess import check_image, shrink
from dcfm_ros.keyframes.adaptive_schedule import make_schedule
from dcfm_ros.keyframes.clip import segment_clip
from dcfm_ros.keyframes.execution import DeepExecution
from dcfm_ros.keyframes.feature_cache import FrameInfo
from dcfm_ros.keyframes.frame_result import FrameResult as FrameResult
from dcfm_ros.keyframes.motion import FlowChain
from dcfm_ros.keyframes.schedule_options import ScheduleOptions as ScheduleOptions
from dcfm_ros.keyframes.selector import KeyframeSelector
from dcfm_ros.keyframes.stage_timer import StageTimer
from dcfm_ros.keyframes.steadiness import steadied, thumbnail
from dcfm_ros.network import load_network as load_network


class SegmentationEngine:
    """Segments a stream of images with the deep encoder on keyframes only.

    One engine serves one camera (see `for_another_camera`); it is not thread-safe. Its state is
    in three places: `KeyframeSelector`, with the feature cache, `DeepExecution`, with the
    unfinished deep encoder of a keyframe, and `FlowChain`, with the newest picture.
    """

    def __init__(
        self,
        net: Network,
        options: EngineOptions | None = None,
        schedule: ScheduleOptions | None = None,
        *,
        backend: Backend | None = None,
        phase: float = 0.0,
    ) -> None:
        """Prepare a copy of `net` for inference.

        Args:
            net: From `load_network`, or in PyTorch; left as it is.
            options: How to run it; None: the defaults.
            schedule: When keyframes are due; None: the defaults.
            backend: Runs it in place of the one that `options` name.
            phase: See `for_another_camera`.

        Raises:
            ValueError: If options exclude each other, or name a device that is absent.
            ImportError: If the backend is not installed.
        """
        if not 0 <= phase < 1:
            raise ValueError(f'`phase` must be at least 0 and below 1, got {phase}')
        schedule = schedule or ScheduleOptions()
        self.net = net
        self.options = how = options or EngineOptions()
        num_slices = how.num_slices(schedule)
        self.backend = backend or make_backend(
            net, how.device, how.backend, how.precision, num_slices=num_slices
        )
        """What runs the network: name, device, precision, and failure if it fell back."""
        self.in_effect = replace(
            how,
            execution_slices=num_slices,
            motion=how.motion_of(net.config),
            mask_blending=how.blending_of(net.config),
        )
        """The options, with what 'auto', 0 and -1 stand for; of what runs it, see `backend`."""
        self._motion = FlowChain() if self.in_effect.motion == 'flow' else None
        self._deep = DeepExecution(num_slices)
        self._selector = KeyframeSelector(schedule, phase)

    @property
    def schedule(self) -> ScheduleOptions:
        """When keyframes are due; a new value applies from the next frame on."""
        return self._selector.options

    @schedule.setter
    def schedule(self, options: ScheduleOptions) -> None:
        self._selector.options = options

    def reset(self) -> None:
        """Forget the cached feature: the next frame becomes a keyframe."""
        self._deep.cancel()
        self._selector.cache.clear('reset')

    def for_another_camera(self, phase: float = 0.0) -> SegmentationEngine:
        """An engine for another camera: same network and graphs, its own state.

        Engines that share a network must not run at the same time: backends are not thread-safe.

        Args:
            phase: Share of a fixed keyframe interval, in [0, 1), by which keyframes come later
                than the first camera's, so that keyframes and slices of N cameras take turns:
                i / N for camera i. After the first keyframe, or another that voids everything
                before it (a reset, ...), the next one is due after this share of the interval.

        Raises:
            ValueError: If `phase` is outside that range.
        """
        # The graphs are cut for this number of slices, even if the schedule has changed since.
        options = replace(self.options, execution_slices=self._deep.num_slices)
        backend = self.backend.for_another_camera()
        return SegmentationEngine(self.net, options, self.schedule, backend=backend, phase=phase)

    def step(self, image: NDArray[np.uint8], stamp_ns: int) -> FrameResult:
        """Segment the next frame of the selector.

        A keyframe runs both encoders and refills the cache; a non-key frame runs only the shallow
        encoder and reuses the cached common feature. With execution 'amortised' a keyframe and
        the frames after it run a slice of its deep encoder each, and use the feature before it
        until it is ready.

        Args:
            image: RGB, (H, W, 3). If H or W changes, this frame becomes a keyframe.
            stamp_ns: Acquisition time in nanoseconds; so does a step back in time.

        Raises:
            ValueError: If the image is not uint8 RGB with at least one pixel.
        """
        check_image(image)
        selector, cache, backend = self._selector, self._selector.cache, self.backend
        how = self.options
        frame = selector.new_frame((image.shape[0], image.shape[1]), stamp_ns)
        timer = StageTimer(backend.wait)
        with timer.stage('preprocess'):
            small = shrink(image, how.inference_height, self.net.config.size_multiple)
            given = backend.to_input(small)
            frame.picture = self._motion.flow.picture(small) if self._motion else None
        with timer.stage('independent'):
            independent = backend.encode_independent(given)
        with timer.stage('preprocess'):
            digest = backend.digest(independent) if selector.uses_feature else None
            seen = selector.observe(frame, small, digest)
            decision = selector.decide(frame, seen, is_encoding=self._deep.is_busy)

        if decision.is_keyframe:
            self._deep.begin(backend.deep_task(independent))
        if self._deep.is_busy:
            begun = frame if decision.is_keyframe else selector.begun
            try:
                with timer.stage('common'):
                    must_finish = selector.cannot_wait(frame, decision)
                    common = self._deep.finish() if must_finish else self._deep.advance()
            except Exception:
                if begun is not frame:  # its keyframe is lost: the next frame must be one
                    cache.clear('retry')
                raise
            if decision.is_keyframe:
                selector.set_keyframe(frame, seen, decision)
            if common is not None:
                cache.store(common, begun)
        selector.accept(frame)

        used, common = cache.keyframe, cache.common
        assert common is not None
        before = selector.keyframe_before(frame)
        at = self._follow(frame, before, timer)
        if at and used is before:
            with timer.stage('motion'):
                common = backend.warp(common, at)
        with timer.stage('decode'):
            logits = backend.decode([common], independent)
        blending = self.in_effect.mask_blending
        if frame.picture is not None and blending:
            with timer.stage('blend'):
                frame.thumbnail = thumbnail(frame.picture, backend.grid(logits))
                if before and at:
                    logits = steadied(backend, logits, frame, before, at, blending)
                frame.logits = logits
        with timer.stage('mask'):
            mask = backend.class_mask(logits, frame.size)
        return FrameResult(
            mask=mask,
            is_keyframe=decision.is_keyframe,
            reason=decision.reason,
            keyframe_age=frame.number - used.number,
            feature_age_ms=(stamp_ns - used.stamp_ns) / 1e6,
            change_score=decision.change_score,
            stage_ms=timer.stage_ms,
            stamp_ns=stamp_ns,
            _logits=logits,
            _backend=backend,
            _temperature=self.net.config.confidence_temperature,
        )

    def _follow(
        self, frame: FrameInfo, before: FrameInfo | None, timer: StageTimer
    ) -> Places | None:
        """Where the content of a frame was in the keyframe before it, if that is needed."""
        if self._motion is None or frame.picture is None:
            return None
        cache = self._selector.cache
        keyframes = [cache.keyframe, self._selector.begun]
        if before and self.in_effect.mask_blending:
            keyframes.append(before)
        earlier = [keyframe.picture for keyframe in keyframes if keyframe is not frame]
        if not earlier:
            self._motion.add(frame.picture, [])
            return None
        with timer.stage('motion'):
            self._motion.add(frame.picture, earlier)
            grid = self.backend.grid(cache.common)
            return self._motion.places(before.picture, grid) if before else None

    def segment_clip(
        self, images: Sequence[NDArray[np.uint8]], start: int = 0, mode: str = 'both'
    ) -> Iterator[FrameResult]:
        """Segment a recorded clip offline, fusing with the following keyframe too (B mode).

        Needs future frames, so it is not for a live camera. An adaptive schedule looks ahead for
        the following keyframe, so most frames are read twice, and encoded twice if it compares
        features. Class scores are not blended (`mask_blending`). Does not touch the state of
        `step`.

        Args:
            images: RGB frames of one size, (H, W, 3); anything with a length and an index.
            start: First keyframe; the frames before it use that keyframe.
            mode: 'both' (previous and following keyframe, logits averaged) or 'past'.

        Yields:
            One result per frame, in order; its `stamp_ns` is the number of the frame.

        Raises:
            ValueError: If an image is not uint8 RGB or differs in size, or an argument is wrong.
        """
        return segment_clip(
            images,
            self.backend,
            make_schedule(self.schedule),
            self.options.inference_height,
            size_multiple=self.net.config.size_multiple,
            start=start,
            mode=mode,
            has_motion=self._motion is not None,
            temperature=self.net.config.confidence_temperature,
        )
