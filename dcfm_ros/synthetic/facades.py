"""Procedural houses of the synthetic streets: masonry, windows, doors, shops and roofs."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic.camera import Floats
from dcfm_ros.synthetic.textures import Texture

_PX_PER_M = 24
_WALL_M = 9.0
_WALLS = np.array(
    [
        *((150, 84, 62), (128, 70, 55), (98, 62, 52), (196, 170, 122), (176, 156, 118)),
        *((222, 218, 206), (198, 190, 172), (120, 116, 110), (214, 196, 160), (170, 178, 186)),
        *((84, 80, 76), (206, 202, 196)),
    ]
)
_BRICKS = 5
"""How many of the first `_WALLS` may be brick."""
_SHOPS = np.array(
    [(24, 60, 120), (130, 24, 30), (20, 84, 52), (24, 24, 28), (220, 214, 200), (60, 64, 70)]
)
_TILES = np.array([(96, 62, 50), (84, 84, 90), (110, 84, 70), (70, 66, 64)])


class Facade(NamedTuple):
    """Textures and measures of one kind of house."""

    front: Texture
    wall: Texture
    roof: Texture
    wall_colour: Floats
    """Mean RGB of the masonry, shape (3,)."""
    width: float
    """Metres, as the others."""
    height: float
    """Up to the eaves."""
    rise: float
    """From the eaves to the ridge; 0 is a flat roof."""


def make_facade(rng: np.random.Generator, noise: NDArray[np.float32]) -> Facade:
    """Paint a house; `noise` is a tileable texture (256, 256) of unit variance."""
    style = str(rng.choice(['sash', 'shop', 'office', 'hall'], p=[0.4, 0.35, 0.15, 0.1]))
    floors = int(rng.choice([2, 2, 3, 3, 4, 5]))
    storey = rng.uniform(2.7, 3.4) * (1.3 if style == 'hall' else 1.0)
    width, height = rng.uniform(6, 14), floors * storey + rng.uniform(0.3, 0.9)
    kind = int(rng.integers(len(_WALLS)))
    base = _WALLS[kind] * rng.uniform(0.8, 1.12)
    brick = kind < _BRICKS and rng.random() < 0.85
    front, wall = (_masonry(noise, base, height, side, brick) for side in (width, _WALL_M))
    frame = float(rng.choice([235.0, 225.0, 60.0, 140.0]))
    _paint_floors(rng, front, style, floors, storey, frame)
    cornice = max(int(rng.uniform(0.15, 0.5) * _PX_PER_M), 1)
    front[:cornice] = base * rng.uniform(0.8, 1.2)
    for floor in range(int(rng.integers(0, floors))):
        foot = int(height * _PX_PER_M - (floor * storey + 1.0) * _PX_PER_M)
        _paint_window(rng, wall, (70, foot - 34, 96, foot), frame)
    tile = _TILES[rng.integers(len(_TILES))]
    roof = tile * (1 + 0.1 * noise[:96, :, None])
    roof[::6] *= 0.75
    rise = 0.0 if style == 'office' or rng.random() < 0.15 else rng.uniform(1.5, 3.5)
    textures = Texture(front), Texture(wall), Texture(roof)
    return Facade(*textures, textures[1].mean, width, height, rise)


def _masonry(
    noise: NDArray[np.float32], base: Floats, height: float, width: float, brick: bool
) -> NDArray[np.float32]:
    rows, columns = int(height * _PX_PER_M), int(width * _PX_PER_M)
    repeats = (rows // 256 + 1, columns // 256 + 1)
    stains = cv2.resize(noise[:64, :64], (columns, rows), None, 0, 0, cv2.INTER_LINEAR)
    shade = 1 + 0.06 * stains + 0.04 * np.tile(noise, repeats)[:rows, :columns]
    shade -= 0.12 * np.linspace(0, 1, rows)[:, None] ** 6  # splashed and dirty at the foot
    if brick:
        courses = np.repeat(np.repeat(noise[:128, :64], 4, 0), 8, 1)[:rows, :columns]
        shade += 0.05 * courses
        shade[::4] *= 1.09
    return (base * shade[..., None]).astype(np.float32)


def _paint_floors(
    rng: np.random.Generator, image: Floats, style: str, floors: int, storey: float, frame: float
) -> None:
    rows, columns = image.shape[:2]
    bays = max(2, int(columns / _PX_PER_M / rng.uniform(2.0, 3.2)))
    tall, wide = storey * rng.uniform(0.45, 0.62), rng.uniform(0.4, 0.62)
    if style == 'office':
        wide = 0.97
    elif style == 'hall':
        tall, wide = storey * 0.75, rng.uniform(0.25, 0.4)
    for floor in range(floors):
        foot = int(rows - (floor * storey + 0.85) * _PX_PER_M)
        if floor == 0 and style == 'shop':
            _paint_shop(rng, image, int(rows - storey * _PX_PER_M))
            continue
        if floor and rng.random() < 0.3:
            image[foot + 12 : foot + 15] *= 1.2  # string course
        for bay in range(bays):
            left, right = ((bay + 0.5 + end * wide / 2) * columns / bays for end in (-1, 1))
            top = int(foot - tall * _PX_PER_M)
            if floor == 0 and bay == bays // 2 and style != 'office':
                _paint_door(rng, image, (int(left), top, int(right), rows - 2), frame)
            else:
                _paint_window(rng, image, (int(left), top, int(right), foot), frame)


def _paint_window(
    rng: np.random.Generator, image: Floats, box: tuple[int, int, int, int], frame: float
) -> None:
    left, top, right, bottom = box
    top = max(top, 3)
    edge = (frame, frame, frame * 0.97)
    cv2.rectangle(image, (left - 2, top - 3), (right + 2, bottom + 3), edge, -1)
    image[top:bottom, left:right] = _glass(rng, max(bottom - top, 0))
    if rng.random() < 0.3:
        image[top : (top + bottom) // 2, left:right] = rng.uniform(110, 200)
    for x in range(left + 14, right - 8, 14):
        cv2.line(image, (x, top), (x, bottom), edge, 2)
    cv2.line(image, (left, (top + bottom) // 2), (right, (top + bottom) // 2), edge, 2)
    image[bottom + 3 : bottom + 6, left - 2 : right + 2] *= 0.7


def _paint_door(
    rng: np.random.Generator, image: Floats, box: tuple[int, int, int, int], frame: float
) -> None:
    left, top, right, bottom = box
    cv2.rectangle(image, (left - 2, top - 3), (right + 2, bottom), (frame, frame, frame), -1)
    image[top : top + 10, left:right] = _glass(rng, len(image[top : top + 10]))
    image[top + 13 : bottom, left + 1 : right - 1] = rng.uniform(20, 120, 3)


def _paint_shop(rng: np.random.Generator, image: Floats, top: int) -> None:
    foot, columns = image.shape[:2]
    colour = _SHOPS[rng.integers(len(_SHOPS))] * rng.uniform(0.7, 1.1)
    image[top:foot] = colour * 0.7
    image[top : top + 17] = colour
    ink: Any = (230, 226, 212) if colour.mean() < 150 else (24, 24, 44)
    start = int(rng.integers(8, max(columns // 3, 9)))
    for x in range(start, min(start + int(rng.integers(50, 150)), columns - 12), 10):
        if rng.random() < 0.85:
            cv2.rectangle(image, (x, 4 + top), (x + int(rng.integers(4, 8)), 12 + top), ink, -1)
    panes = max(2, columns // int(rng.integers(40, 80)))
    for pane in range(panes):
        left, right = pane * columns // panes + 3, (pane + 1) * columns // panes - 3
        tint = rng.uniform(0.8, 1.1, 3)
        image[top + 20 : foot - 10, left:right] = _glass(rng, foot - top - 30) * tint
        for _ in range(3):
            x, y = int(rng.integers(left, right)), int(rng.integers(top + 26, foot - 18))
            goods = rng.uniform(20, 190) + rng.uniform(-40, 40, 3)
            cv2.rectangle(image, (x, y), (min(x + 8, right), y + 10), goods.tolist(), -1)


def _glass(rng: np.random.Generator, rows: int) -> Floats:
    """Return a column (rows, 1, 3) of glass that mirrors the sky at its top."""
    fall = np.linspace(rng.uniform(40, 190), rng.uniform(12, 60), rows)[:, None, None]
    return fall * np.array([0.93, 1.0, 1.06])
