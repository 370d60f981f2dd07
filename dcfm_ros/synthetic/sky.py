"""Sky and skyline of the synthetic drives, infinitely far away."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dcfm_ros.synthetic.camera import Camera, Floats, Light
from dcfm_ros.synthetic.canvas import Canvas
from dcfm_ros.synthetic.solids import BUILDING, SKY, TREE
from dcfm_ros.synthetic.textures import spectral_noise

_COLUMNS, _ROWS = 768, 144
_TOP_RAD = 0.62


class Sky:
    """Graded sky with clouds, a glow around the sun and a skyline; keeps its panorama."""

    def __init__(
        self, rng: np.random.Generator, light: Light, zenith: Floats, cloud: float
    ) -> None:
        self._panorama = _paint_panorama(rng, light, zenith, cloud)
        angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
        waves = [
            rng.normal(0, k**-0.6) * np.sin(k * angle + rng.uniform(0, 6.3))
            for k in range(3, 60, 2)
        ]
        self._trees = 0.02 + 0.006 * np.sum(waves, 0)
        self._roofs = np.repeat(rng.uniform(0, 0.05, 90) * (rng.random(90) < 0.6), 8)
        clear = 0.35 * light.transmission(200.0) + 0.35
        self._green = _veil(np.array([70, 78, 58]) * rng.uniform(0.7, 1.2), light, clear)
        self._brick = _veil(np.array([120, 104, 94]) * rng.uniform(0.7, 1.2), light, clear)
        self._grid: tuple[Floats, Floats] | None = None

    def paint(self, canvas: Canvas) -> None:
        """Fill the canvas with sky down to below the horizon, then paint the skyline onto it."""
        camera, (height, width) = canvas.camera, canvas.mask.shape
        canvas.mask[:] = SKY
        rows = min(int(camera.cy + 0.06 * height) + 2, height)
        if self._grid is None:
            self._grid = _panorama_grid(camera, rows, width)
        turn = math.atan2(camera.rotation[2, 0], camera.rotation[2, 2]) * _COLUMNS / (2 * math.pi)
        tilt = float(camera.rotation[2, 1]) * (_ROWS - 1) / _TOP_RAD
        x, y = (
            self._grid[0] + np.float32(turn),
            np.clip(self._grid[1] - np.float32(tilt), 0, _ROWS - 1),
        )
        canvas.rgb[:rows] = cv2.remap(
            self._panorama, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_WRAP
        )
        self._skyline(canvas, self._trees, self._green, TREE)
        self._skyline(canvas, self._roofs, self._brick, BUILDING)

    def _skyline(self, canvas: Canvas, profile: Floats, colour: Floats, label: int) -> None:
        camera, width = canvas.camera, canvas.mask.shape[1]
        x = np.linspace(-2, width + 2, 200)
        yaw = math.atan2(camera.rotation[2, 0], camera.rotation[2, 2])
        angle = (yaw + np.arctan((x - camera.cx) / camera.focal_px)) / (2 * np.pi) % 1
        rise = np.maximum(profile[(angle * len(profile)).astype(int)], 0)
        level = camera.cy + camera.focal_px * float(camera.rotation[2, 1])
        foot = level + 0.02 * camera.focal_px
        outline = np.stack([x, level - camera.focal_px * rise], 1)
        canvas.polygon(np.concatenate([outline, [[width + 2, foot], [-2, foot]]]), colour, label)


def _veil(colour: Floats, light: Light, clear: float) -> Floats:
    return colour * (light.ambient * clear) + light.haze * (1 - clear)


def _panorama_grid(camera: Camera, rows: int, width: int) -> tuple[Floats, Floats]:
    """Return for each pixel the column and the row of the panorama, for a camera along z."""
    x = (np.arange(width)[None] - camera.cx) / camera.focal_px
    y = (camera.cy - np.arange(rows)[:, None]) / camera.focal_px
    azimuth = np.arctan(x) + np.zeros_like(y)
    elevation = np.arctan(y / np.hypot(1, x))
    column = azimuth * (_COLUMNS / (2 * math.pi))
    row = (1 - elevation / _TOP_RAD) * (_ROWS - 1)
    return column.astype(np.float32), row.astype(np.float32)


def _paint_panorama(
    rng: np.random.Generator, light: Light, zenith: Floats, cloud: float
) -> Floats:
    """Return the sky, columns over azimuth and rows from `_TOP_RAD` down to the horizon, RGB."""
    azimuth = np.linspace(0, 2 * np.pi, _COLUMNS, endpoint=False)[None]
    elevation = np.linspace(_TOP_RAD, 0, _ROWS)[:, None]
    low = light.haze / 0.94
    grade = low + (zenith - low) * np.clip(elevation * 2.0, 0, 1)[..., None]
    # A flat layer of clouds; 256 texture pixels repeat after 9 times its height.
    far = 256 / 9 / np.tan(elevation + 0.04)
    u, v = (far * np.sin(azimuth)) % 256, (far * np.cos(azimuth)) % 256
    layers = np.dstack([spectral_noise(rng, 256, 1.7), spectral_noise(rng, 256, 1.5)])
    noise = cv2.remap(
        layers, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP
    )
    cover = np.clip((noise[..., :1] - 1.2 + 2.8 * cloud) * 0.8, 0, 1)
    cover *= np.clip(elevation * 7 - 0.2, 0, 1)[..., None]
    tone = np.clip(236 + (12 + 14 * cloud) * noise[..., 1:] - 36 * cloud, 90, 255)
    colour = grade + (tone * np.array([0.985, 0.993, 1.0]) - grade) * cover
    away = np.cos(elevation) * math.hypot(light.sun[0], light.sun[2])
    sun_azimuth = math.atan2(light.sun[0], light.sun[2])
    facing = away * np.cos(azimuth - sun_azimuth) + np.sin(elevation) * light.sun[1]
    colour += 120 * light.direct * np.clip(facing, 0, 1)[..., None] ** 12
    return np.clip(colour, 0, 255).astype(np.uint8)
