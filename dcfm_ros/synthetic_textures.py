"""Procedural textures of the synthetic streets: houses, trees, fences and the noise under them."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def spectral_noise(rng: np.random.Generator, size: int, exponent: float) -> Floats:
    """Return tileable noise of unit variance; a larger exponent makes larger blobs."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random(frequency.shape))
    noise = np.fft.irfft2(phase * frequency**-exponent, s=(size, size))
    result: Floats = (noise / noise.std()).astype(np.float32)
    return result


class Texture:
    """RGBA picture with its halved copies, so that far panels do not flicker."""

    SOLID_FROM = 16
    """Smallest opacity, of 255, that makes a pixel belong to the object."""

    def __init__(self, colour: Floats, alpha: Floats | None = None) -> None:
        self.opaque = alpha is None
        opacity = np.full(colour.shape[:2], 255.0) if alpha is None else alpha
        rgba: NDArray[np.uint8] = np.clip(np.dstack([colour, opacity]), 0, 255).astype(np.uint8)
        self._levels = [rgba]
        while min(self._levels[-1].shape[:2]) >= 8:
            height, width = self._levels[-1].shape[:2]
            half = cv2.resize(
                self._levels[-1], (width // 2, height // 2), None, 0, 0, cv2.INTER_AREA
            )
            self._levels.append(half.astype(np.uint8))

    def level(self, area_px: float) -> NDArray[np.uint8]:
        """Return the copy that fits a panel covering `area_px` pixels, shape (h, w, 4)."""
        height, width = self._levels[0].shape[:2]
        index = round(0.5 * np.log2(max(height * width / area_px, 1.0)))
        return self._levels[min(index, len(self._levels) - 1)]


class Facade(NamedTuple):
    """Textures and measures of one kind of house."""

    front: Texture
    wall: Texture
    roof: Texture
    width: float
    height: float
    rise: float
    wall_colour: tuple[float, float, float]


_WALLS = (
    (150, 84, 62), (128, 70, 55), (196, 170, 122), (176, 156, 118), (222, 218, 206),
    (198, 190, 172), (120, 116, 110), (214, 196, 160), (170, 178, 186), (98, 62, 52),
)  # fmt: skip
_SHOPS = (
    (24, 60, 120),
    (130, 24, 30),
    (20, 84, 52),
    (24, 24, 28),
    (220, 214, 200),
    (230, 140, 20),
)


def make_facade(rng: np.random.Generator, noise: Floats) -> Facade:
    """Paint a house: masonry, rows of windows, a door or a shop, a wall and a tiled roof."""
    scale = 26
    floors = int(rng.choice([2, 2, 3, 3, 4, 5]))
    storey = rng.uniform(2.7, 3.5)
    width, height = rng.uniform(6, 14), floors * storey + rng.uniform(0.3, 0.9)
    rows, columns = int(height * scale), int(width * scale)
    base = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.8, 1.1)
    brick = base[0] > 1.25 * base[2] and rng.random() < 0.8

    def masonry(rows: int, columns: int) -> NDArray[np.float32]:
        stains = cv2.resize(noise[:64, :64], (columns, rows), None, 0, 0, cv2.INTER_LINEAR)
        grain = np.tile(noise, (rows // 256 + 1, columns // 256 + 1))[:rows, :columns]
        shade = 1 + 0.05 * stains + 0.04 * grain
        if brick:
            shade[::5] *= 1.09
            shade += 0.05 * np.repeat(np.repeat(noise, 5, 0), 9, 1)[:rows, :columns]
        return (base * shade[..., None]).astype(np.float32)

    front = masonry(rows, columns)
    wall = masonry(rows, int(9 * scale))
    modern = rng.random() < 0.2
    bays = max(2, int(width / rng.uniform(2.0, 3.2)))
    frame = rng.choice([235.0, 225.0, 60.0, 140.0])
    tall, wide = storey * rng.uniform(0.45, 0.62), rng.uniform(0.42, 0.6)
    shop = rng.random() < 0.4
    for floor in range(floors):
        foot = rows - (floor * storey + 0.85) * scale
        if floor == 0 and shop:
            _paint_shop(rng, front, int(rows - storey * scale), rows, scale)
            continue
        for bay in range(bays):
            left = (bay + (0 if modern else (1 - wide) / 2)) * columns / bays
            right = left + columns / bays * (0.97 if modern else wide)
            door = floor == 0 and bay == bays // 2 and not modern
            box = (left, foot - tall * scale, right, rows - 2 if door else foot)
            _paint_window(rng, front, [int(value) for value in box], float(frame), door)
    cv2.rectangle(front, (0, 0), (columns, int(rng.uniform(0.2, 0.5) * scale)), base * 1.15, -1)
    if rng.random() < 0.6:
        foot = rows - int((storey * (floors - 1) + 0.85) * scale)
        _paint_window(rng, wall, [80, foot - int(tall * scale), 110, foot], float(frame), False)
    tile = np.array([(96, 62, 50), (84, 84, 90), (110, 84, 70), (70, 66, 64)][rng.integers(4)])
    roof = tile * (1 + 0.1 * noise[:96, :, None])
    roof[::6] *= 0.75
    rise = 0.0 if modern else rng.uniform(1.5, 3.5)
    return Facade(
        Texture(front), Texture(wall), Texture(roof), width, height, rise, tuple(base * 0.97)
    )


def _paint_window(
    rng: np.random.Generator, image: Floats, box: list[int], frame: float, door: bool
) -> None:
    left, top, right, bottom = box
    edge = [frame, frame, frame * 0.97]
    cv2.rectangle(image, (left - 2, top - 3), (right + 2, bottom + 3), edge, -1)
    if door:
        colour = (rng.random(3) * 110 + 20).tolist()
        cv2.rectangle(image, (left + 3, top + 14), (right - 3, bottom), colour, -1)
        bottom = top + 12
    height, width = max(bottom - top, 1), max(right - left, 1)
    glass = np.linspace(rng.uniform(60, 150), rng.uniform(20, 60), height)[:, None, None]
    image[top:bottom, left:right] = glass * np.array([0.92, 1.0, 1.08])
    if rng.random() < 0.3:
        curtain = rng.uniform(120, 210)
        image[top : top + height // 2, left:right] = curtain
    if width > 12:
        middle = (left + right) // 2
        cv2.line(image, (middle, top), (middle, bottom), edge, 2)
    cv2.line(image, (left, (top + bottom) // 2), (right, (top + bottom) // 2), edge, 2)


def _paint_shop(rng: np.random.Generator, image: Floats, top: int, foot: int, scale: int) -> None:
    columns = image.shape[1]
    colour = np.array(_SHOPS[rng.integers(len(_SHOPS))]) * rng.uniform(0.7, 1.1)
    image[top:foot] = colour * 0.7
    image[top : top + int(0.7 * scale)] = colour
    for x in range(12, columns - 20, 16):
        if rng.random() < 0.7:
            letter = (x, top + 5), (x + int(rng.integers(6, 13)), top + 13)
            cv2.rectangle(
                image, *letter, (235, 230, 215) if colour.mean() < 150 else (20, 20, 40), -1
            )
    panes = max(2, columns // int(rng.integers(45, 90)))
    for pane in range(panes):
        left, right = pane * columns // panes + 4, (pane + 1) * columns // panes - 4
        glass = np.linspace(rng.uniform(70, 150), 25, foot - top - 34)[:, None, None]
        image[top + 22 : foot - 12, left:right] = glass * rng.uniform(0.75, 1.1, 3)
        for _ in range(4):
            x, y = int(rng.integers(left, right)), int(rng.integers(top + 30, foot - 20))
            cv2.rectangle(image, (x, y), (min(x + 9, right), y + 12), rng.random(3) * 220, -1)


def make_tree(rng: np.random.Generator, noise: Floats, bare: bool) -> Texture:
    """Paint a crown. Alpha is the opacity of leaves or twigs; all of the crown counts as tree."""
    size = 224
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32) / size
    field = np.zeros((size, size), np.float32)
    light = np.zeros((size, size), np.float32)
    for _ in range(26):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.33 * np.sqrt(rng.random())
        x, y = 0.5 + distance * np.cos(angle), 0.47 + 1.1 * distance * np.sin(angle)
        radius = rng.uniform(0.08, 0.17)
        bump = 1 - ((xx - x) ** 2 + (yy - y) ** 2) / radius**2
        light = np.where(bump > field, (y - yy) / radius, light)
        field = np.maximum(field, bump)
    detail = noise[:size, :size]
    inside = field + 0.16 * detail > 0.1
    if not bare:
        hue = np.array(
            [(70, 92, 38), (88, 104, 44), (52, 78, 40), (120, 104, 46)][rng.integers(4)]
        )
        shade = 0.85 + 0.3 * light + 0.25 * detail + 0.25 * (0.5 - yy)
        alpha = np.where(inside, 255.0, 0.0)
        return Texture(hue * np.clip(shade, 0.25, 1.8)[..., None], alpha)
    wood = np.zeros((size, size), np.uint8)
    _grow(rng, wood, np.array([0.5 * size, size]), -np.pi / 2, 0.24 * size, 7.0)
    twigs = np.clip(80 + 45 * detail, 20, 160) * inside
    alpha = np.maximum(twigs, wood * (inside | (yy > 0.7)))
    bark = np.array([78, 68, 58]) * rng.uniform(0.7, 1.3)
    return Texture(np.broadcast_to(bark, (size, size, 3)) * (1 + 0.1 * detail[..., None]), alpha)


def _grow(
    rng: np.random.Generator, wood: NDArray[np.uint8], foot: Floats, angle: float, length: float,
    thickness: float,
) -> None:  # fmt: skip
    if length < 7:
        return
    tip = foot + length * np.array([np.cos(angle), np.sin(angle)])
    start, end = foot.astype(int).tolist(), tip.astype(int).tolist()
    cv2.line(wood, start, end, 255, max(1, int(thickness)))
    for turn in rng.uniform(0.15, 0.6, 2) * (1, -1):
        _grow(rng, wood, tip, angle + turn, length * rng.uniform(0.68, 0.85), thickness * 0.65)
    if rng.random() < 0.5:
        _grow(
            rng, wood, (foot + tip) / 2, angle + rng.normal(0, 0.8), length * 0.6, thickness * 0.5
        )


def make_fence(rng: np.random.Generator, noise: Floats, kind: str) -> Texture:
    """Paint a stretch of fence (4 m x 1.2 m): 'railing', 'boards' or 'hedge'."""
    detail = noise[:72, :240]
    if kind == 'hedge':
        green = np.array([58, 74, 38]) * rng.uniform(0.8, 1.3)
        return Texture(green * (1 + 0.3 * detail[..., None]))
    if kind == 'boards':
        wood = np.array([128, 98, 68]) * rng.uniform(0.6, 1.2)
        shade = 1 + 0.06 * detail + 0.12 * np.repeat(rng.standard_normal(30), 8)
        shade[:, ::8] *= 0.6
        return Texture(wood * shade[..., None])
    bars = np.full((72, 240), 70.0)
    bars[:, ::8] = bars[:, 1::8] = bars[:, 2::8] = 255
    bars[:8] = bars[-10:-5] = 255
    bars[:, :6] = 255
    metal = np.array(
        [(40, 42, 44), (120, 124, 128), (30, 60, 44), (200, 200, 204)][rng.integers(4)]
    )
    return Texture(np.broadcast_to(metal, (72, 240, 3)).astype(np.float32), bars)
