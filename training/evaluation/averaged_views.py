"""Test-time augmentation: logits averaged over mirrored and resized copies of every image.

Shapes: H W image, K classes, h w feature grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.interface import Backend
from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.masks.class_mask import class_mask, confidence_map
from dcfm_ros.masks.tiles import resize

Image = NDArray[np.uint8]

_NEVER = ScheduleOptions(
    schedule='adaptive', keyframe_score='image', change_threshold=100.0, max_time_gap_s=0.0
)
_NOW = replace(_NEVER, change_threshold=0.0)


class FlippedEngine:
    """Two engines of one network, one of which sees every image mirrored.

    They share keyframes. Upsampling commutes with mirroring, so the logits are averaged on the
    feature grid and upsampled once.
    """

    def __init__(self, engine: SegmentationEngine) -> None:
        """Use an engine and a second one of its network."""
        self._engine = engine
        self._mirrored = engine.for_another_camera()

    @property
    def backend(self) -> Backend:
        """See `SegmentationEngine.backend`."""
        return self._engine.backend

    @property
    def schedule(self) -> ScheduleOptions:
        """See `SegmentationEngine.schedule`."""
        return self._engine.schedule

    @schedule.setter
    def schedule(self, options: ScheduleOptions) -> None:
        self._engine.schedule = options

    def step(self, image: Image, stamp_ns: int) -> FrameResult:
        """See `SegmentationEngine.step`."""
        result = self._engine.step(image, stamp_ns)
        self._mirrored.schedule = _NOW if result.is_keyframe else _NEVER
        return _averaged(result, self._mirrored.step(_mirror(image), stamp_ns))

    def reset(self) -> None:
        """See `SegmentationEngine.reset`."""
        self._engine.reset()
        self._mirrored.reset()

    def segment_clip(
        self, images: Sequence[Image], start: int = 0, mode: str = 'both'
    ) -> Iterator[FrameResult]:
        """See `SegmentationEngine.segment_clip`; every image is read twice."""
        self._mirrored.schedule = self._engine.schedule
        results = self._engine.segment_clip(images, start, mode)
        mirrored = self._mirrored.segment_clip(_MirroredImages(images), start, mode)
        return map(_averaged, results, mirrored)


class MultiScaleEngine:
    """Segments every image on its own, at several sizes, with the deep encoder each time.

    There is none for video: a cached feature belongs to one size.
    """

    def __init__(
        self, engine: SegmentationEngine, scales: Sequence[float], height: int = 0, *, flip: bool
    ) -> None:
        """Take an engine that works at the height of its images.

        Args:
            engine: Runs the network; its schedule is replaced.
            scales: Factors of the size that the network works at, above 0.
            height: Rows at scale 1, at most those of the image; 0: those of the image.
            flip: Look at every size mirrored too.

        Raises:
            ValueError: If there is no scale, or one is not above 0.
        """
        if not scales or not all(scale > 0 for scale in scales):
            raise ValueError(f'`scales` must be numbers above 0, got {list(scales)}')
        self.schedule = ScheduleOptions(keyframe_interval=1)
        """Every frame is a keyframe, whatever is asked for."""
        self._engine = engine
        self._engine.schedule = self.schedule
        self._scales = scales
        self._height = height
        self._flip = flip

    @property
    def backend(self) -> Backend:
        """See `SegmentationEngine.backend`."""
        return self._engine.backend

    def step(self, image: Image, stamp_ns: int) -> FrameResult:
        """See `SegmentationEngine.step`; the logits are at image size, (1, K, H, W)."""
        size = (image.shape[0], image.shape[1])
        rows = min(size[0], self._height or size[0])
        views: list[NDArray[Any]] = []
        stage_ms: Counter[str] = Counter()
        for scale in self._scales:
            view = _with_rows(image, max(1, round(rows * scale)))
            for is_mirrored in (False, True) if self._flip else (False,):
                self._engine.reset()  # or scores of the view before would be blended in
                result = self._engine.step(_mirror(view) if is_mirrored else view, stamp_ns)
                logits = result.logits[..., ::-1] if is_mirrored else result.logits
                planes = np.ascontiguousarray(logits[0], np.float32)
                views.append(np.stack([resize(plane, size) for plane in planes])[None])
                stage_ms.update(result.stage_ms)
        return _AveragedResult.of(result, np.mean(views, axis=0), size, stage_ms)

    def reset(self) -> None:
        """See `SegmentationEngine.reset`."""
        self._engine.reset()

    def segment_clip(
        self, images: Sequence[Image], start: int = 0, mode: str = 'both'
    ) -> Iterator[FrameResult]:
        """Every image on its own, in either mode."""
        return (self.step(image, index) for index, image in enumerate(images))


Engine = SegmentationEngine | FlippedEngine | MultiScaleEngine
"""What an evaluation runs."""


@dataclass(eq=False, kw_only=True)
class _AveragedResult(FrameResult):
    """A result whose logits are an array, the mean of several views, and no backend's."""

    @classmethod
    def of(
        cls,
        result: FrameResult,
        logits: NDArray[Any],
        size: tuple[int, int],
        stage_ms: Mapping[str, float],
    ) -> FrameResult:
        """A result of one view, with the logits, mask and time of all; `size` is the mask's."""
        values = {field.name: getattr(result, field.name) for field in fields(result)}
        mask = class_mask(logits[0], size)
        return cls(**values | {'mask': mask, '_logits': logits, 'stage_ms': dict(stage_ms)})

    @cached_property
    def logits(self) -> NDArray[Any]:
        """See `FrameResult.logits`."""
        logits: NDArray[Any] = self._logits
        return logits

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """See `FrameResult.confidence`."""
        planes = self.logits[0] / self._temperature
        return confidence_map(planes, (self.mask.shape[0], self.mask.shape[1]))


class _MirroredImages(Sequence[Image]):
    def __init__(self, images: Sequence[Image]) -> None:
        self._images = images

    def __getitem__(self, index: Any) -> Any:
        return _mirror(self._images[index])

    def __len__(self) -> int:
        return len(self._images)


def _averaged(result: FrameResult, mirrored: FrameResult) -> FrameResult:
    """The result with the logits of both, and the time that both took."""
    logits = (result.logits + mirrored.logits[..., ::-1]) / 2
    stage_ms = Counter(result.stage_ms)
    stage_ms.update(mirrored.stage_ms)
    size = (result.mask.shape[0], result.mask.shape[1])
    return _AveragedResult.of(result, logits, size, stage_ms)


def _mirror(image: Image) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def _with_rows(image: Image, rows: int) -> Image:
    """The image at a height, its width in proportion."""
    height, width = image.shape[:2]
    if rows == height:
        return image
    filter_ = cv2.INTER_AREA if rows < height else cv2.INTER_LINEAR
    size = (max(1, round(width * rows / height)), rows)
    return np.asarray(cv2.resize(image, size, interpolation=filter_), np.uint8)
