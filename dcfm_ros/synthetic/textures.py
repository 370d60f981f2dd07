"""Procedural textures of the synthetic streets: noise, crowns of trees, fences."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic.camera import Floats

FENCE_KINDS = ('railing', 'boards', 'hedge')


def spectral_noise(rng: np.random.Generator, size: int, exponent: float) -> NDArray[np.float32]:
    """Return tileable noise (size, size) of unit variance; exponent 0 is white noise."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    noise = np.fft.irfft2(phase * frequency**-exponent, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


class Texture:
    """RGBA picture with its halved copies, so that far panels do not flicker."""

    def __init__(self, colour: Floats, alpha: Floats | None = None, solid_from: int = 128) -> None:
        self.opaque = alpha is None
        self.solid_from = solid_from
        """Smallest opacity, of 255, that makes a pixel belong to the object."""
        opacity = np.full(colour.shape[:2], 255.0, np.float32) if alpha is None else alpha
        rgba = np.clip(np.dstack([colour, opacity]), 0, 255).astype(np.uint8)
        self.mean: Floats = np.array(cv2.mean(rgba)[:3])
        self._levels: list[NDArray[np.uint8]] = [rgba]
        while min(self._levels[-1].shape[:2]) >= 8:
            height, width = self._levels[-1].shape[:2]
            size = (width // 2, height // 2)
            half = cv2.resize(self._levels[-1], size, None, 0, 0, cv2.INTER_AREA)
            self._levels.append(half.astype(np.uint8, copy=False))

    def level(self, area_px: float) -> NDArray[np.uint8]:
        """Return the copy that fits a panel covering `area_px` pixels, shape (h, w, 4)."""
        height, width = self._levels[0].shape[:2]
        index = round(0.5 * np.log2(max(height * width / area_px, 1.0)))
        return self._levels[min(index, len(self._levels) - 1)]


_LEAVES = np.array([(78, 94, 52), (96, 108, 66), (62, 80, 52), (118, 106, 66), (102, 108, 80)])
_SIZE = 160


def make_tree(rng: np.random.Generator, noise: NDArray[np.float32], bare: bool) -> Texture:
    """Paint a crown: leaves, or the branches and twigs of a bare tree.

    All of a bare crown counts as tree, as in CamVid's labels, though the sky shows through it.
    """
    y, x = np.mgrid[0:_SIZE, 0:_SIZE].astype(np.float32) / _SIZE
    field: NDArray[np.float32] = np.full((_SIZE, _SIZE), -1.0, np.float32)
    light: NDArray[np.float32] = np.zeros((_SIZE, _SIZE), np.float32)
    for _ in range(22):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.3 * np.sqrt(rng.random())
        middle_x, middle_y = 0.5 + distance * np.cos(angle), 0.46 + 1.1 * distance * np.sin(angle)
        radius = rng.uniform(0.08, 0.16)
        bump = 1 - ((x - middle_x) ** 2 + (y - middle_y) ** 2) / radius**2
        light = np.where(bump > field, (middle_y - y) / radius, light)
        field = np.maximum(field, bump)
    row, column = rng.integers(0, 256, 2)
    detail = np.roll(noise, (row, column), (0, 1))[:_SIZE, :_SIZE]
    rim = 12 * np.minimum(np.minimum(x, 1 - x), y)
    inside = np.minimum(field + 0.16 * detail, rim - 0.2) > 0.1
    if not bare:
        hue = _LEAVES[rng.integers(len(_LEAVES))] * rng.uniform(0.8, 1.15)
        leaf = np.repeat(np.repeat(noise, 2, 0), 2, 1)[:_SIZE, :_SIZE]
        shade = 0.95 + 0.4 * light + 0.3 * detail + 0.2 * leaf + 0.25 * (0.5 - y)
        return Texture(hue * np.clip(shade, 0.2, 2.2)[..., None], np.where(inside, 255.0, 0.0))
    wood = np.zeros((_SIZE, _SIZE), np.uint8)
    _grow(rng, wood, np.array([0.5 * _SIZE, _SIZE]), -np.pi / 2, 0.22 * _SIZE, 6.0)
    twigs = np.clip(95 + 55 * detail, 60, 200)
    bark = np.array([78.0, 68.0, 58.0]) * rng.uniform(0.6, 1.3)
    colour = bark * (1 + 0.1 * detail[..., None])
    return Texture(colour, np.maximum(twigs, wood) * (inside | (wood > 0) & (rim > 0.5)), 30)


def _grow(
    rng: np.random.Generator, wood: NDArray[np.uint8], foot: Floats, angle: float, length: float,
    thickness: float,
) -> None:  # fmt: skip
    """Draw a branch and all that grows from it, in pixels."""
    if length < 7:
        return
    tip = foot + length * np.array([np.cos(angle), np.sin(angle)])
    cv2.line(
        wood, foot.astype(int).tolist(), tip.astype(int).tolist(), 255, max(1, int(thickness))
    )
    for turn in rng.uniform(0.15, 0.6, 2) * (1, -1):
        _grow(rng, wood, tip, angle + turn, length * rng.uniform(0.68, 0.85), thickness * 0.65)
    if rng.random() < 0.4:
        middle, turn = (foot + tip) / 2, rng.normal(0, 0.8)
        _grow(rng, wood, middle, angle + turn, length * 0.6, thickness * 0.5)


def make_fence(rng: np.random.Generator, noise: NDArray[np.float32], kind: str) -> Texture:
    """Paint 12 m of fence, one of `FENCE_KINDS`."""
    detail = np.tile(noise[:48], 3)[:, :600]
    if kind == 'hedge':
        green = np.array([58, 74, 38]) * rng.uniform(0.8, 1.3)
        return Texture(green * (1 + 0.25 * detail[..., None]))
    if kind == 'boards':
        wood = np.array([128, 98, 68]) * rng.uniform(0.6, 1.2)
        shade = 1 + 0.06 * detail + 0.12 * np.repeat(rng.standard_normal(100), 6)
        shade[:, ::6] *= 0.6
        return Texture(wood * shade[..., None])
    # The gaps belong to the fence, as in CamVid's labels, but show what is behind.
    bars = np.full((48, 600), 60.0)
    bars[:, ::6] = bars[:, 1::6] = 255
    bars[:4] = bars[-7:-4] = 255
    bars[:, ::100] = bars[:, 1::100] = bars[:, 2::100] = 255
    metals = np.array([(40, 42, 44), (120, 124, 128), (30, 60, 44), (200, 200, 204)], float)
    metal = metals[rng.integers(len(metals))]
    return Texture(np.broadcast_to(metal, (48, 600, 3)), bars, 30)
