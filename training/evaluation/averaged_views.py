"""Test-time augmentation: logits averaged over mirrored and resized copies of every image.

Shapes: H W image, K classes, h w feature grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
import copy
from dataclasses import replace
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.keyframes.schedule import FixedScheduler
from dcfm_ros.masks.class_mask import class_mask
from dcfm_ros.models.dcfm import DCFM

Image = NDArray[np.uint8]


class FlippedEngine(SegmentationEngine):
    """An engine with a second one beside it that sees every image mirrored.

    The two share keyframes. Upsampling commutes with mirroring, so the logits are averaged on
    the feature grid and upsampled once.
    """

    def __init__(
        self,
        net: DCFM,
        device: str = 'auto',
        backend: str = 'auto',
        inference_height: int | None = None,
    ) -> None:
        """Prepare both; see `SegmentationEngine`."""
        super().__init__(net, device, backend, inference_height=inference_height)
        self._mirrored = SegmentationEngine(
            net, device, backend, inference_height=inference_height
        )

    def step(self, image: Image, stamp_ns: int) -> FrameResult:
        """See `SegmentationEngine.step`."""
        result = super().step(image, stamp_ns)
        self._mirrored.schedule = FixedScheduler(sys.maxsize)  # never by itself
        if result.is_keyframe:
            self._mirrored.reset()
        return _averaged(result, self._mirrored.step(_mirror(image), stamp_ns))

    def reset(self) -> None:
        """See `SegmentationEngine.reset`."""
        super().reset()
        self._mirrored.reset()

    def segment_clip(
        self, images: Sequence[Image], start: int = 0, mode: str = 'both'
    ) -> Iterator[FrameResult]:
        """See `SegmentationEngine.segment_clip`; every image is read twice."""
        self._mirrored.schedule = copy.copy(self.schedule)
        results = super().segment_clip(images, start, mode)
        mirrored = self._mirrored.segment_clip(_MirroredImages(images), start, mode)
        return map(_averaged, results, mirrored)


class MultiScaleEngine(SegmentationEngine):
    """Segments every image on its own, at several sizes, with the deep encoder each time.

    There is none for video: a cached feature belongs to one size.
    """

    def __init__(
        self,
        net: DCFM,
        scales: Sequence[float],
        device: str = 'auto',
        backend: str = 'auto',
        inference_height: int | None = None,
        *,
        flip: bool = False,
    ) -> None:
        """Prepare the engine.

        Args:
            net: See `SegmentationEngine`, as are the others.
            scales: Factors of the size that the network works at, above 0.
            device: Where the network runs.
            backend: What runs it.
            inference_height: Rows at scale 1.
            flip: Look at every size mirrored too.

        Raises:
            ValueError: If there is no scale, or one is not above 0.
        """
        if not scales or not all(scale > 0 for scale in scales):
            raise ValueError(f'`scales` must be numbers above 0, got {list(scales)}')
        super().__init__(net, device, backend, schedule=1)
        self._scales = scales
        self._height = inference_height
        self._flip = flip

    def step(self, image: Image, stamp_ns: int) -> FrameResult:
        """See `SegmentationEngine.step`; the logits are at image size, (1, K, H, W)."""
        size = (image.shape[0], image.shape[1])
        rows = min(size[0], self._height or size[0])
        views: list[Tensor] = []
        stage_ms: Counter[str] = Counter()
        for scale in self._scales:
            view = _with_rows(image, max(1, round(rows * scale)))
            for is_mirrored in (False, True) if self._flip else (False,):
                result = super().step(_mirror(view) if is_mirrored else view, stamp_ns)
                logits = result.logits.flip(-1) if is_mirrored else result.logits
                views.append(F.interpolate(logits, size, mode='bilinear', align_corners=False))
                stage_ms.update(result.stage_ms)
        mean = torch.stack(views).mean(0)
        mask = class_mask(mean, size)
        return replace(result, mask=mask, logits=mean, stage_ms=dict(stage_ms))


class _MirroredImages(Sequence[Image]):
    def __init__(self, images: Sequence[Image]) -> None:
        self._images = images

    def __getitem__(self, index: Any) -> Any:
        return _mirror(self._images[index])

    def __len__(self) -> int:
        return len(self._images)


def _averaged(result: FrameResult, mirrored: FrameResult) -> FrameResult:
    """The result with the logits of both, and the time that both took."""
    logits = (result.logits + mirrored.logits.flip(-1)) / 2
    mask = class_mask(logits, (result.mask.shape[0], result.mask.shape[1]))
    stage_ms = Counter(result.stage_ms)
    stage_ms.update(mirrored.stage_ms)
    return replace(result, mask=mask, logits=logits, stage_ms=dict(stage_ms))


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
