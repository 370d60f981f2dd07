"""Ground of the synthetic drives: road, pavements and verges where the pixels' rays meet it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic.canvas import Canvas
from dcfm_ros.synthetic.solids import PAVEMENT, ROAD, TREE
from dcfm_ros.synthetic.street import BLOCK_M, SIGHT_M, Street

Pixels = NDArray[np.float32]
_PERIOD_M = 256.0  # all ground textures repeat after it


class _Ground(NamedTuple):
    """Where the pixels of some rows meet the ground, each of shape (h, w)."""

    depth: Pixels
    """Metres along the optical axis; `SIGHT_M` * 3 where the ray meets no ground before that."""
    x: Pixels
    z: Pixels
    offset: Pixels
    """Metres to the right of the centre line."""
    away: Pixels
    """Distance to the centre line, metres."""
    cell: NDArray[np.int32]
    """Index into tables of shape (2, metres): side, then metre from the first block on."""
    footprint: Pixels
    """Metres per pixel across the view."""


def paint_ground(canvas: Canvas, street: Street) -> None:
    """Paint road, pavements, verges and side roads onto the lower part of the canvas."""
    camera, light = canvas.camera, canvas.light
    height = canvas.mask.shape[0]
    first = max(int(camera.cy - 0.04 * height), 0)
    base = int(camera.centre[2] // BLOCK_M) - 1
    blocks = [street.block(base + index) for index in range(int(SIGHT_M / BLOCK_M) + 3)]
    ground = _meet_ground(canvas, street, first, base * BLOCK_M, len(blocks) * BLOCK_M)

    metre = np.arange(BLOCK_M)
    side_road = np.concatenate([[metre < gap for gap in b.gaps] for b in blocks], 1).ravel()
    green = np.concatenate([np.repeat([b.green], BLOCK_M, 0).T for b in blocks], 1).ravel()
    beyond = np.where(side_road, ROAD, np.where(green, TREE, PAVEMENT)).astype(np.uint8)
    paved = np.where(side_road, ROAD, PAVEMENT).astype(np.uint8)
    label = np.where(ground.away < street.edge, paved[ground.cell], beyond[ground.cell])
    label[ground.away < street.half_road] = ROAD

    stain = _sample(street.looks.noise, ground, 4, cv2.INTER_LINEAR)
    grain = _sample(street.looks.noise, ground, 25, cv2.INTER_NEAREST)
    near = np.exp(ground.depth * np.float32(-1 / 18))
    pavement = label == PAVEMENT
    shade = (
        1
        + np.float32(0.05) * stain
        + (0.05 + 0.15 * (label == TREE)).astype(np.float32) * grain * near
    )
    slabs = np.maximum(
        _stripe(_wave(ground.away, 0.6), 0.012, ground),
        _stripe(_wave(ground.z, 0.9), 0.012, ground),
    )
    kerb = _stripe(ground.away - np.float32(street.half_road + 0.08), 0.08, ground)
    shade += pavement * (np.float32(0.3) * kerb - np.float32(0.25) * slabs * near)
    sunlit = _sunlight(canvas, street, ground, np.stack([b.shades for b in blocks], 1))
    level = light.direct * max(float(light.sun[1]), 0.0) * 1.2
    lit = shade * (np.float32(light.ambient) + np.float32(level) * sunlit)
    worn = (label == ROAD) * np.clip(np.float32(0.8) + np.float32(0.25) * stain, 0, 1)
    white, edge = _markings(street, ground)
    edge = edge * worn * ~side_road[ground.cell]
    white = white * worn

    clear = light.transmission(ground.depth)
    bright = lit / shade
    yellow = (205, 175, 75) if street.looks.markings.double else (228, 228, 222)
    planes = []
    for channel in range(3):
        plane = street.looks.ground[:, channel][label] * lit
        for cover, tint in ((white, (228, 228, 222)), (edge, yellow)):
            plane += cover * (bright * np.float32(tint[channel]) - plane)
        haze = np.float32(light.haze[channel])
        planes.append((plane - haze) * clear + haze)
    below = ground.depth < 2 * SIGHT_M
    colour = cv2.convertScaleAbs(cv2.merge(planes))
    cv2.copyTo(colour, below.view(np.uint8), canvas.rgb[first:])
    cv2.copyTo(label, below.view(np.uint8), canvas.mask[first:])


def _meet_ground(canvas: Canvas, street: Street, first: int, start: int, metres: int) -> _Ground:
    """Intersect the rays of the rows from `first` on with the ground."""
    camera, (height, width) = canvas.camera, canvas.mask.shape
    u = ((np.arange(width, dtype=np.float32) - np.float32(camera.cx)) / camera.focal_px)[None]
    v = (np.arange(first, height, dtype=np.float32) - np.float32(camera.cy)) / camera.focal_px
    right, down, ahead = camera.rotation.astype(np.float32)
    centre = camera.centre.astype(np.float32)
    fall = -(right[1] * u + (down[1] * v[:, None] + ahead[1]))
    depth = centre[1] / np.maximum(fall, centre[1] / np.float32(3 * SIGHT_M))
    x = depth * (right[0] * u + (down[0] * v[:, None] + ahead[0])) + centre[0]
    z = depth * (right[2] * u + (down[2] * v[:, None] + ahead[2])) + centre[2]
    offset = x - street.centre(z)
    slot = np.clip(z - np.float32(start), 0, metres - 1).astype(np.int32)
    cell = slot + (offset > 0) * np.int32(metres)
    return _Ground(
        depth, x, z, offset, np.abs(offset), cell, depth * np.float32(1 / camera.focal_px)
    )


def _sample(noise: Pixels, ground: _Ground, px_per_m: int, interpolation: int) -> Pixels:
    """Look the noise up on the ground."""
    # Counting z from a multiple of the period keeps the coordinates small enough for OpenCV.
    start = np.float32(ground.z[-1, 0] // _PERIOD_M * _PERIOD_M)
    scale = np.float32(px_per_m)
    x, z = ground.x * scale, (ground.z - start) * scale
    found = cv2.remap(noise, x, z, interpolation, None, cv2.BORDER_WRAP)
    return found.astype(np.float32, copy=False)


def _wave(metres: Pixels, period: float) -> Pixels:
    """Return the signed distance to the nearest multiple of `period`."""
    turns = metres * np.float32(1 / period)
    return (turns - np.rint(turns)) * np.float32(period)


def _stripe(distance: Pixels, half_width: float, ground: _Ground) -> Pixels:
    """Return how much of each pixel a line covers, in [0, 1]."""
    cover = np.clip(
        (np.float32(half_width) - np.abs(distance)) / ground.footprint + np.float32(0.5), 0, 1
    )
    # A line thinner than a pixel covers only its share of it.
    return cover * np.minimum(np.float32(2 * half_width) / ground.footprint, 1)


def _markings(street: Street, ground: _Ground) -> tuple[Pixels, Pixels]:
    """Return how much of each pixel the middle line and the lines along the kerb cover."""
    marks = street.looks.markings
    white = _stripe(ground.offset, 0.06, ground)
    if marks.dash_m < 6:
        white *= np.abs(_wave(ground.z, 6.0)) < np.float32(marks.dash_m / 2)
    kerb = ground.away - np.float32(street.half_road - 0.3)
    if marks.double:
        return white, _stripe(np.abs(kerb + np.float32(0.1)) - np.float32(0.1), 0.05, ground)
    return white, _stripe(kerb, 0.06, ground) * np.float32(marks.edge)


def _sunlight(canvas: Canvas, street: Street, ground: _Ground, shades: Pixels) -> Pixels:
    """Return 1 in the sun and 0 in the shadow of houses and trees, shape (h, w)."""
    sun = canvas.light.sun
    if canvas.light.direct < 0.05:
        return np.ones_like(ground.z)
    right = bool(sun[0] > 0)
    reach = abs(float(sun[0])) / max(float(sun[1]), 0.1)
    edges = (street.edge - shades[int(right)].ravel() * reach).astype(np.float32)
    metre = ground.cell % np.int32(edges.size)
    return np.clip((edges[metre] - (ground.offset if right else -ground.offset)) * 3, 0, 1)
