"""Sky, skyline and ground of the synthetic drives, painted per pixel."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dcfm_ros.synthetic_canvas import Canvas, Floats
from dcfm_ros.synthetic_objects import BUILDING, PAVEMENT, ROAD, SKY, TREE
from dcfm_ros.synthetic_scene import BLOCK_M, RANGE_M, Street
from dcfm_ros.synthetic_textures import spectral_noise


class Sky:
    """Graded sky with clouds, and a skyline far away."""

    def __init__(
        self, rng: np.random.Generator, zenith: Floats, low: Floats, cloud: float
    ) -> None:
        self._zenith, self._low = zenith, low
        noise = spectral_noise(rng, 256, 1.7)
        cover = np.clip((noise - 1.2 + 2.6 * cloud) * 0.8, 0, 1)
        tone = np.clip(215 + 26 * spectral_noise(rng, 256, 1.5) - 50 * cloud, 60, 255)
        self._clouds = np.dstack([tone * 0.985, tone * 0.993, tone, cover * 255]).astype(
            np.float32
        )
        angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
        waves = [(k, rng.normal(0, k**-0.6), rng.uniform(0, 6.3)) for k in range(3, 60, 2)]
        outline = sum(size * np.sin(k * angle + phase) for k, size, phase in waves)
        self._trees = 0.022 + 0.007 * np.asarray(outline)
        blocks = np.repeat(rng.uniform(0.0, 0.055, 90), 8)
        self._roofs = np.where(np.repeat(rng.random(90) < 0.5, 8), blocks, 0)
        self._green = np.array([70, 78, 58]) * rng.uniform(0.7, 1.2)
        self._brick = np.array([120, 104, 94]) * rng.uniform(0.7, 1.2)

    def paint(self, canvas: Canvas) -> None:
        """Fill the whole canvas with sky, then paint the skyline onto it."""
        camera, (height, width) = canvas.camera, canvas.mask.shape
        canvas.mask[:] = SKY
        rows = min(max(int(camera.cy + 0.05 * height), 1), height)
        # A plane of clouds, 256 texture pixels to 12 units at height 1.
        lens = np.array(
            [[camera.focal_px, 0, camera.cx], [0, camera.focal_px, camera.cy], [0, 0, 1]]
        )
        plane = np.array([[1 / 22, 0, 0], [0, 0, 1], [0, 1 / 22, 0]])
        clouds = cv2.warpPerspective(
            self._clouds,
            lens @ camera.rotation @ plane,
            (width, rows),
            None,
            cv2.INTER_LINEAR,
            cv2.BORDER_WRAP,
        )
        rise = np.clip((camera.cy - np.arange(rows)) / camera.focal_px, 0, 1)
        share = np.clip(rise * 2.2, 0, 1)[:, None]
        grade = self._low + (self._zenith - self._low) * share
        weight = clouds[..., 3:] * (np.clip(rise * 7 - 0.25, 0, 1) / 255)[:, None, None]
        canvas.rgb[:rows] = np.clip(
            grade[:, None] + (clouds[..., :3] - grade[:, None]) * weight, 0, 255
        )
        self._skyline(canvas, self._trees, self._green, TREE)
        self._skyline(canvas, self._roofs, self._brick, BUILDING)

    def _skyline(self, canvas: Canvas, profile: Floats, colour: Floats, label: int) -> None:
        camera, width = canvas.camera, canvas.mask.shape[1]
        x = np.linspace(-2, width + 2, 160)
        yaw = math.atan2(camera.rotation[2, 0], camera.rotation[2, 2])
        angle = yaw + np.arctan((x - camera.cx) / camera.focal_px)
        rise = np.interp(angle % (2 * np.pi), np.linspace(0, 2 * np.pi, len(profile)), profile)
        tilt = camera.rotation[2, 1]
        level = camera.cy + camera.focal_px * tilt
        y = level - camera.focal_px * np.maximum(rise, 0)
        outline = np.concatenate([np.stack([x, y], 1), [[width + 2, level + 4], [-2, level + 4]]])
        clear = float(canvas.light.transmission(RANGE_M * 1.5))
        lit = colour * (canvas.light.ambient * clear) + canvas.light.haze * (1 - clear)
        canvas.paint(outline, lit.tolist(), label)


def paint_ground(canvas: Canvas, street: Street) -> None:
    """Paint road, pavements, verges and side roads where the pixels' rays meet the ground."""
    camera, light = canvas.camera, canvas.light
    height, width = canvas.mask.shape
    u = ((np.arange(width, dtype=np.float32) + 0.5 - camera.cx) / camera.focal_px)[None]
    first = max(int(camera.cy - 0.06 * height), 0)
    v = ((np.arange(first, height, dtype=np.float32) + 0.5 - camera.cy) / camera.focal_px)[:, None]
    right, down, ahead = camera.rotation.astype(np.float32)
    fall = -(right[1] * u + down[1] * v + ahead[1])
    below = fall > camera.centre[1] / (2 * RANGE_M)
    depth = (np.float32(camera.centre[1]) / np.where(below, fall, 1)).astype(np.float32)
    z = depth * (right[2] * u + down[2] * v + ahead[2]) + np.float32(camera.centre[2])
    x = depth * (right[0] * u + down[0] * v + ahead[0]) + np.float32(camera.centre[0])
    offset = x - street.centre(z).astype(np.float32)
    away = np.abs(offset)
    block = np.floor(z * np.float32(1 / BLOCK_M))
    base = int(camera.centre[2] // BLOCK_M) - 1
    blocks = [street.block(base + i) for i in range(int(2 * RANGE_M / BLOCK_M) + 4)]
    slot = np.clip(block - base, 0, len(blocks) - 1).astype(np.intp)
    side = (offset > 0).astype(np.intp)
    gaps = np.array([b.side_roads for b in blocks], np.float32)[slot, side]
    into = z - block * np.float32(BLOCK_M)
    green = np.array([[theme != 'terrace' for theme in b.themes] for b in blocks])[slot, side]
    label = np.where(
        green & (away > street.half_road + street.pavement), np.uint8(TREE), np.uint8(PAVEMENT)
    )
    label[(away < street.half_road) | (into < gaps)] = ROAD
    # One colour per class, then light: large stains, grain that fades with distance, markings.
    colour = street.ground_colours[label]
    near = np.exp(depth * np.float32(-1 / 18))
    grain = cv2.remap(
        street.noise, x * 23 % 256, z * 23 % 256, cv2.INTER_NEAREST, None, cv2.BORDER_WRAP
    )
    stain = cv2.remap(
        street.noise, x * 4 % 256, z * 1.2 % 256, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP
    )
    shade = 1 + (0.06 + 0.14 * (label == TREE)) * grain * near + 0.05 * stain
    footprint = depth * np.float32(1 / camera.focal_px)
    on_road = label == ROAD
    paint = (
        _stripe(away - 0.0, 0.06, footprint) * (z % 6 < 3.5)
        if street.dashes
        else _stripe(away, 0.05, footprint)
    )
    if street.yellow:
        edge = np.maximum(_stripe(away - (street.half_road - 0.3), 0.05, footprint),
                          _stripe(away - (street.half_road - 0.5), 0.05, footprint))  # fmt: skip
    else:
        edge = _stripe(away - (street.half_road - 0.35), 0.06, footprint) * np.float32(
            street.edge_line
        )
    clean = on_road * (into > gaps) * np.clip(0.85 + 0.25 * stain, 0, 1)
    kerb = _stripe(away - (street.half_road + 0.07), 0.08, footprint) * (label == PAVEMENT)
    slabs = np.maximum(
        _stripe(away % 0.6 - 0.3, 0.012, footprint), _stripe(z % 0.9 - 0.45, 0.012, footprint)
    )
    shade -= 0.25 * slabs * (label == PAVEMENT) * near
    shade += kerb * np.float32(0.35)
    sunlit = _sunlight(canvas, street, blocks, slot, offset, into)
    lit = shade * (light.ambient + light.direct * max(float(light.sun[1]), 0.0) * 1.3 * sunlit)
    colour = colour * lit[..., None]
    bright = np.float32(light.ambient + light.direct * 0.7) * (0.4 + 0.6 * sunlit)
    for weight, tint in ((paint * clean, (225, 225, 220)), (edge * clean, street.edge_tint)):
        colour += (weight * 0.85)[..., None] * (
            np.array(tint, np.float32) * bright[..., None] - colour
        )
    clear = light.transmission(depth)[..., None].astype(np.float32)
    colour = colour * clear + light.haze.astype(np.float32) * (1 - clear)
    target = canvas.rgb[first:]
    np.copyto(target, np.clip(colour, 0, 255).astype(np.uint8), where=below[..., None])
    np.copyto(canvas.mask[first:], label, where=below)


def _stripe(distance: Floats, half_width: float, footprint: Floats) -> Floats:
    """Return how much of each pixel a line covers, in [0, 1]; `footprint` is metres per pixel."""
    cover: Floats = np.clip((half_width - np.abs(distance)) / footprint + 0.5, 0, 1)
    # A line thinner than a pixel covers only its share of it.
    return cover * np.minimum(2 * half_width / footprint, 1)


def _sunlight(
    canvas: Canvas, street: Street, blocks: list, slot: Floats, offset: Floats, into: Floats
) -> Floats:
    """Return 1 in the sun and 0 in the shadow of the houses, shape (h, w)."""
    sun = canvas.light.sun
    side = 0 if sun[0] < 0 else 1
    length = abs(float(sun[0])) / max(float(sun[1]), 0.1)
    heights = np.array([b.shades[side] for b in blocks], np.float32)[slot]
    edge = (
        street.half_road
        + street.pavement
        - heights * length * (0.8 + 0.2 * np.sign(np.sin(into * 0.7)))
    )
    reach = offset if side else -offset
    return np.clip((edge - reach) * 2.0, 0, 1)
