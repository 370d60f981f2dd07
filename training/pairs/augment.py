"""Random geometry shared by both frames and the label, and random light for each frame.

`RoadSceneAugmentation` is written in OpenCV on uint8 because it runs beside the training on the
same CPU: one warp and one look-up table per image. The paper's own are in `paper_augment`.

Shapes: H W image, h w crop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import UNLABELLED

Image = NDArray[np.uint8]


class PairAugmentation(ABC):
    """Varies a (reference frame, labelled frame, label); what comes out always has one size."""

    @abstractmethod
    def __call__(
        self,
        reference: Image,
        labelled: Image,
        label: Image,
        rng: np.random.Generator,
        focus: int | None = None,
    ) -> tuple[Image, Image, Image]:
        """Vary a pair.

        Args:
            reference: RGB, (H, W, 3).
            labelled: RGB, (H, W, 3).
            label: Class ids of `labelled`, (H, W).
            rng: The only source of randomness.
            focus: Class of which a pixel that `label` has should be seen; None: any place will do.

        Returns:
            The same three at that size; 255 in the label where they show nothing of the frame.
        """


@dataclass(frozen=True)
class RoadSceneAugmentation(PairAugmentation):
    """For a camera on a vehicle: zoom, slight rotation, light, sensor noise, occlusion.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    crop: tuple[int, int] = (320, 416)
    """Height and width of what the network trains on, pixels."""
    scale: tuple[float, float] = (0.5, 2.0)
    """Least and greatest zoom of the whole frame before the crop."""
    stretch: float = 0.1
    """Greatest relative change of the aspect ratio, in [0, 1)."""
    rotation_deg: float = 3.0
    """Greatest rotation to either side, degrees."""
    flip: float = 0.5
    """Probability of a mirrored pair."""
    jitter: float = 0.3
    """Greatest relative change of brightness, contrast and saturation that both frames share, in
    [0, 1]."""
    pair_jitter: float = 0.08
    """The same for each frame on its own: exposure wanders between frames."""
    noise: float = 6.0
    """Greatest standard deviation of sensor noise, grey levels, each frame on its own."""
    blur: float = 0.15
    """Probability of a slightly blurred frame, each on its own."""
    occlusion: float = 0.2
    """Probability that something covers part of the reference frame only."""

    def __post_init__(self) -> None:
        if min(self.crop) < 32:
            raise ValueError(f'`crop` must be at least 32 pixels each way, got {self.crop}')
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f'`scale` must be (least, greatest) above 0, got {self.scale}')
        for name in ('flip', 'jitter', 'pair_jitter', 'blur', 'occlusion'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'`{name}` must be in [0, 1], got {getattr(self, name)}')
        if not 0 <= self.stretch < 1:
            raise ValueError(f'`stretch` must be in [0, 1), got {self.stretch}')
        for name in ('rotation_deg', 'noise'):
            if not 0 <= getattr(self, name) < math.inf:
                msg = f'at least 0 and finite, got {getattr(self, name)}'
                raise ValueError(f'`{name}` must be {msg}')

    def __call__(
        self,
        reference: Image,
        labelled: Image,
        label: Image,
        rng: np.random.Generator,
        focus: int | None = None,
    ) -> tuple[Image, Image, Image]:
        """Vary a pair."""
        matrix = self._sample_geometry(label, focus, rng)
        size = self.crop[::-1]
        label = cv2.warpAffine(
            label, matrix, size, flags=cv2.INTER_NEAREST, borderValue=UNLABELLED
        )
        colour = _sample_colour(self.jitter, rng)
        second = cv2.warpAffine(labelled, matrix, size, flags=cv2.INTER_LINEAR)
        first = second
        if reference is not labelled:
            first = cv2.warpAffine(reference, matrix, size, flags=cv2.INTER_LINEAR)
        frames = []
        for frame in (first, second):
            own = _sample_colour(self.pair_jitter, rng)
            frame = recolour(frame, colour[0] * own[0], colour[1] * own[1], colour[2] * own[2])
            frames.append(self._degrade(frame, rng))
        if rng.random() < self.occlusion:
            _occlude(frames[0], rng)
        return frames[0], frames[1], label

    def _sample_geometry(
        self, label: Image, focus: int | None, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """The 2x3 matrix from frame to crop coordinates."""
        extent = np.array(label.shape[::-1], np.float64)
        crop = np.array(self.crop[::-1], np.float64)
        scale = np.exp(rng.uniform(*np.log(self.scale)))
        stretch = 1 + rng.uniform(-self.stretch, self.stretch)
        scales = scale * np.array([np.sqrt(stretch), 1 / np.sqrt(stretch)])
        angle = np.deg2rad(rng.uniform(-self.rotation_deg, self.rotation_deg))
        mirror = -1.0 if rng.random() < self.flip else 1.0
        linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = linear @ np.diag(scales * (mirror, 1.0))
        # The crop lies anywhere inside the scaled frame, or the frame anywhere inside the crop.
        slack = np.abs(extent * scales - crop)
        place = rng.uniform(-0.5, 0.5, 2)
        target = crop / 2 + place * slack
        pixel = None if focus is None else random_pixel(label, focus, rng)
        if pixel is not None:
            # Of these places, one from which the pixel is seen, or the nearest such.
            offset = linear @ (pixel - extent / 2)
            ends = np.clip(
                [crop / 2 - slack / 2, crop / 2 + slack / 2], -offset, crop - 1 - offset
            )
            target = ends.mean(axis=0) + place * (ends[1] - ends[0])
        return np.column_stack([linear, target - linear @ extent / 2])

    def _degrade(self, image: Image, rng: np.random.Generator) -> Image:
        if rng.random() < self.blur:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.2)))
        deviation = float(rng.uniform(0, self.noise))
        if deviation > 1:
            # Fresh noise costs more than all the rest; a random stretch of a fixed roll does.
            needed = image.size
            start = int(rng.integers(0, max(_GRAIN.size - needed, 1)))
            grain = np.resize(_GRAIN[start : start + needed], image.shape)
            image = cv2.addWeighted(image, 1, grain, deviation, 0, dtype=cv2.CV_8U)
        return image


def random_pixel(
    label: Image, class_id: int, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Draw a pixel of a class, as (x, y); None if there is none."""
    pixels = np.flatnonzero(label == class_id)
    if not len(pixels):
        return None
    row, column = divmod(int(rng.choice(pixels)), label.shape[1])
    return np.array([column, row])


def recolour(
    image: Image, gains: NDArray[np.float64], contrast: NDArray[np.float64], saturation: float
) -> Image:
    """Change light and colour.

    Args:
        image: RGB, (H, W, 3).
        gains: Brightness per channel, (3,); 1 = as it is.
        contrast: Exponent per channel, (3,); 1 = as it is.
        saturation: 0 = grey, 1 = as it is.
    """
    levels = np.arange(256)[:, None] / 255
    table = np.clip(255 * gains * levels**contrast + 0.5, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table[None])
    if saturation != 1:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
    return image


def _sample_colour(
    strength: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    gain = rng.uniform(1 - strength, 1 + strength)
    cast = 1 + rng.uniform(-0.25, 0.25, 3) * strength
    contrast = np.exp(rng.uniform(-strength, strength))
    return gain * cast, np.full(3, contrast), float(rng.uniform(1 - strength, 1 + strength))


_GRAIN = np.random.default_rng(0).standard_normal(1 << 21).astype(np.float32)


def _occlude(image: Image, rng: np.random.Generator) -> None:
    """Cover a box or an ellipse with one colour or with another part of the same image."""
    height, width = image.shape[:2]
    size = (rng.uniform(0.08, 0.35, 2) * (width, height)).astype(int) + 1
    corner = (rng.random(2) * (np.array([width, height]) - size)).astype(int)
    box = np.s_[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]]
    if rng.random() < 0.5:
        other = (rng.random(2) * (np.array([width, height]) - size)).astype(int)
        cover = image[other[1] : other[1] + size[1], other[0] : other[0] + size[0]].copy()
    else:
        cover = np.empty((size[1], size[0], 3), np.uint8)
        cover[:] = rng.integers(0, 256, 3)
    shape = np.ones((size[1], size[0]), np.uint8)
    if rng.random() < 0.5:
        shape[:] = 0
        axes = (int(size[0]) // 2, int(size[1]) // 2)
        cv2.ellipse(shape, axes, axes, 0, 0, 360, 1, -1)
    image[box][shape > 0] = cover[shape > 0]
