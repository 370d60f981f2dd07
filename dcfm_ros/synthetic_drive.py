"""Labelled synthetic street drives in CamVid's 11 classes, with an exact mask for every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.synthetic_canvas import Camera, Canvas, Light
from dcfm_ros.synthetic_ground import Sky, paint_ground
from dcfm_ros.synthetic_scene import Street


@dataclass(frozen=True, kw_only=True)
class DriveConfig:
    """Settings of a synthetic drive; the street, its light and its traffic follow from `seed`."""

    seed: int = 0
    """Chooses street, light, camera and traffic; 0 or more."""
    num_frames: int = 150
    """Length of the drive in frames, 1 or more."""
    height: int = 360
    """Image height in pixels, 32 to 4096. The vertical field of view does not depend on it."""
    width: int = 480
    """Image width in pixels, 32 to 4096."""
    rate_hz: float = 15.0
    """Frames per second, above 0."""
    speed_mps: float = 8.0
    """Speed of the camera in metres per second, 0 to 60."""
    density: float = 1.0
    """Amount of traffic, parked cars and people; 0 is an empty street, 1 a usual one, at most 3."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f'`seed` must be 0 or more, got {self.seed}')
        if self.num_frames < 1:
            raise ValueError(f'`num_frames` must be 1 or more, got {self.num_frames}')
        for name in ('height', 'width'):
            if not 32 <= getattr(self, name) <= 4096:
                raise ValueError(f'`{name}` must be in [32, 4096], got {getattr(self, name)}')
        if not 0 < self.rate_hz < math.inf:
            raise ValueError(f'`rate_hz` must be above 0 and finite, got {self.rate_hz}')
        if not 0 <= self.speed_mps <= 60:
            raise ValueError(f'`speed_mps` must be in [0, 60], got {self.speed_mps}')
        if not 0 <= self.density <= 3:
            raise ValueError(f'`density` must be in [0, 3], got {self.density}')


class SyntheticDrive:
    """Renders any frame of a drive by its index, in any order; keeps the street it has built."""

    def __init__(self, config: DriveConfig) -> None:
        self.config = config
        self._street = Street(config.seed, config.density, config.speed_mps)
        rng = np.random.default_rng([config.seed, 7])
        self._light, sky = _make_light(rng)
        self._sky = sky
        self._height_m = rng.uniform(1.15, 1.6)
        self._focal = rng.uniform(1.15, 1.4)
        self._horizon = rng.uniform(0.42, 0.5)
        self._wobble = rng.uniform(0, 6.3, 6)
        self._drift = (rng.uniform(0.03, 0.15), rng.uniform(4, 14), rng.uniform(0, 6.3))
        self._sensor = _Sensor(rng, config)

    def camera(self, index: int) -> Camera:
        """Return the camera of frame `index`."""
        config, phase = self.config, self._wobble
        time_s = index / config.rate_hz
        z = config.speed_mps * time_s
        jolt = min(config.speed_mps / 8, 1.5)
        yaw = self._street.heading(z + 4) + 0.006 * math.sin(0.7 * time_s + phase[0])
        pitch = jolt * (
            0.004 * math.sin(7.3 * time_s + phase[1]) + 0.003 * math.sin(2.1 * time_s + phase[2])
        )
        roll = jolt * 0.004 * math.sin(1.7 * time_s + phase[3])
        height = self._height_m + jolt * 0.012 * math.sin(8.1 * time_s + phase[4])
        right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
        forward = np.array(
            [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
        )
        up = np.array(
            [-math.sin(yaw) * math.sin(pitch), math.cos(pitch), -math.cos(yaw) * math.sin(pitch)]
        )
        cosine, sine = math.cos(roll), math.sin(roll)
        rotation = np.stack([cosine * right - sine * up, -sine * right - cosine * up, forward])
        weave = self._street.lane + 0.12 * math.sin(0.31 * time_s + phase[5])
        centre = self._street.at(weave, z, height)
        return Camera(
            rotation,
            centre,
            self._focal * config.height,
            config.width / 2,
            self._horizon * config.height,
        )

    def render(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Render one frame.

        Args:
            index: Frame number; the drive goes on beyond `num_frames`.

        Returns:
            RGB image of shape (H, W, 3), and class ids of shape (H, W) in CamVid order.
        """
        config = self.config
        time_s = index / config.rate_hz
        canvas = Canvas(self.camera(index), self._light, config.height, config.width)
        self._sky.paint(canvas)
        paint_ground(canvas, self._street)
        for item in self._street.visible(float(canvas.camera.centre[2]), time_s):
            item.paint(canvas)
        size, period, phase = self._drift
        gain = 1 + size * math.sin(2 * math.pi * time_s / period + phase)
        return self._sensor.expose(canvas.rgb, gain, index), canvas.mask


def render_drive(config: DriveConfig) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Render a drive frame by frame.

    Yields:
        RGB image of shape (H, W, 3), and class ids of shape (H, W) in CamVid order, 0 to 10.
    """
    drive = SyntheticDrive(config)
    for index in range(config.num_frames):
        yield drive.render(index)


def write_drive(config: DriveConfig, directory: Path | str) -> None:
    """Write a drive as frames/%06d.png, masks/%06d.png (class ids) and drive.json.

    Args:
        config: The drive.
        directory: Created if absent. drive.json is written last, so its presence says that the
            drive is complete.

    Raises:
        FileExistsError: If `directory` is a file or has any content.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f'`directory` must be new or an empty folder, got {directory}')
    for name in ('frames', 'masks'):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for index, (rgb, mask) in enumerate(render_drive(config)):
        _write_png(directory / 'frames' / f'{index:06d}.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        _write_png(directory / 'masks' / f'{index:06d}.png', mask)
    record = {'config': asdict(config), 'class_names': CAMVID_NAMES, 'palette': CAMVID_PALETTE}
    _write_atomically(directory / 'drive.json', json.dumps(record, indent=2).encode())


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    _, data = cv2.imencode('.png', image)
    _write_atomically(path, data.tobytes())


def _write_atomically(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + '.partial')
    partial.write_bytes(data)
    os.replace(partial, path)


class _Sensor:
    """Turns painted colours into what a camera delivers: exposure, vignette, blur and noise."""

    def __init__(self, rng: np.random.Generator, config: DriveConfig) -> None:
        height, width = config.height, config.width
        dusk = rng.random() < 0.3
        self._exposure = rng.uniform(0.35, 0.7) if dusk else rng.uniform(0.8, 1.2)
        self._contrast = rng.uniform(0.9, 1.35)
        self._balance = 1 + rng.uniform(-0.06, 0.06, 3)
        self._sigma = rng.uniform(0.45, 0.8) * max(height / 360, 0.6)
        y = np.linspace(-1, 1, height)[:, None]
        x = np.linspace(-1, 1, width)[None]
        fall = 1 - rng.uniform(0.03, 0.16) * (x**2 + y**2)
        self._vignette = cv2.merge([np.asarray(fall * 255, np.uint8)] * 3)
        noise = np.random.default_rng([config.seed, 8])
        strength = rng.uniform(1.0, 4.5)
        bank = noise.standard_normal((height + 61, width + 67, 3), np.float32) * strength
        self._noise = np.round(bank).astype(np.int16)

    def expose(self, rgb: NDArray[np.uint8], gain: float, index: int) -> NDArray[np.uint8]:
        """Return the sensor image of one frame, shape (H, W, 3)."""
        height, width = rgb.shape[:2]
        levels = np.arange(256)[:, None] / 255
        curve = np.clip(levels * self._balance * self._exposure * gain, 0, 1) ** self._contrast
        table = np.round(curve * 255).astype(np.uint8)[None]
        image = cv2.GaussianBlur(rgb, (0, 0), self._sigma)
        image = cv2.multiply(cv2.LUT(image, table), self._vignette, None, 1 / 255)
        row, column = index * 37 % 61, index * 29 % 67
        noise = np.ascontiguousarray(self._noise[row : row + height, column : column + width])
        result: NDArray[np.uint8] = cv2.add(image, noise, None, None, cv2.CV_8U)
        return result


def _make_light(rng: np.random.Generator) -> tuple[Light, Sky]:
    cloud = rng.random()
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9)
    sun = np.array(
        [
            math.cos(height) * math.sin(azimuth),
            math.sin(height),
            math.cos(height) * math.cos(azimuth),
        ]
    )
    direct = 0.75 * max(0.0, 1 - 1.4 * cloud)
    ambient = 0.9 - 0.65 * direct
    zenith = np.array([86, 132, 196]) * (1 - cloud) + np.array([190, 196, 204]) * cloud
    low = np.array([226, 232, 238]) * rng.uniform(0.88, 1.07) + rng.uniform(-8, 8, 3)
    light = Light(sun, ambient, direct, low * 0.92, rng.uniform(150, 700))
    return light, Sky(rng, zenith, low, cloud)
