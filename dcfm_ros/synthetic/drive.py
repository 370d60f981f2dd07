"""Labelled synthetic street drives in CamVid's 11 classes, with an exact mask for every frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.files import new_folder, write_json
from dcfm_ros.images.image_file import write_image
from dcfm_ros.models.labels import CAMVID_NAMES, CAMVID_PALETTE
from dcfm_ros.option_spec import check_options, option
from dcfm_ros.synthetic.camera import Camera, Light
from dcfm_ros.synthetic.canvas import Canvas
from dcfm_ros.synthetic.ground import paint_ground
from dcfm_ros.synthetic.items import Item
from dcfm_ros.synthetic.sky import Sky
from dcfm_ros.synthetic.street import BLOCK_M, NEAR_SIGHT_M, SIGHT_M, Street
from dcfm_ros.synthetic.traffic import make_traffic

Frame = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""RGB image of shape (H, W, 3), and class ids of shape (H, W) in CamVid order, 0 to 10."""


@dataclass(frozen=True, kw_only=True)
class DriveConfig:
    """Settings of a synthetic drive.

    Raises:
        ValueError: If a value is not allowed.
    """

    seed: int = option(0, 'Which street, light, camera and traffic.', maximum=2**62)
    num_frames: int = option(150, 'Length.', minimum=1, maximum=10**9, unit='frames')
    height: int = option(
        360, 'Image height; the vertical field of view stays.', minimum=32, maximum=4096, unit='px'
    )
    width: int = option(480, 'Image width.', minimum=32, maximum=4096, unit='px')
    rate_hz: float = option(15.0, 'Frame rate.', minimum=0.1, maximum=1000.0, unit='Hz')
    speed_mps: float = option(8.0, 'Speed of the camera.', maximum=60.0, unit='m/s')
    density: float = option(
        1.0, 'Amount of traffic, parked cars and people; 1 is usual, 0 is none.', maximum=3.0
    )

    def __post_init__(self) -> None:
        check_options(self)


class SyntheticDrive:
    """Renders any frame of a drive, in any order; keeps the street that it has built."""

    def __init__(self, config: DriveConfig) -> None:
        self.config = config
        rng = np.random.default_rng([config.seed, 5])
        self._street = Street(config.seed, config.density)
        self._traffic = make_traffic(config.seed, self._street, config.density)
        cloud = rng.random()
        self._light, zenith = _make_light(rng, cloud)
        self._sky = Sky(rng, self._light, zenith, cloud)
        self._mount_m = rng.uniform(1.15, 1.6)
        self._focal = rng.uniform(1.15, 1.4)
        self._horizon = rng.uniform(0.45, 0.55)
        self._phase = rng.uniform(0, 2 * math.pi, 7).tolist()
        self._drift = rng.uniform(0.03, 0.15), 2 * math.pi / rng.uniform(4, 14)
        self._sensor = _Sensor(rng, config)

    def camera(self, index: int) -> Camera:
        """Return the camera of frame `index`."""
        config, phase, time_s = self.config, self._phase, index / self.config.rate_hz
        z = config.speed_mps * time_s
        jolt = min(config.speed_mps / 8, 1.5)
        yaw = self._street.heading(z + 4) + 0.006 * jolt * math.sin(0.7 * time_s + phase[0])
        pitch = 0.004 * math.sin(7.3 * time_s + phase[1]) + 0.003 * math.sin(
            2.1 * time_s + phase[2]
        )
        roll = jolt * 0.004 * math.sin(1.7 * time_s + phase[3])
        rise = jolt * 0.012 * math.sin(8.1 * time_s + phase[4])
        weave = self._street.lane + 0.12 * jolt * math.sin(0.31 * time_s + phase[5])
        centre = self._street.at(weave, z) + np.array([0, self._mount_m + rise, 0])
        height, width = config.height, config.width
        focal, horizon = self._focal * height, self._horizon * height
        rotation = _rotation(yaw, jolt * pitch, roll)
        return Camera(rotation, centre, focal, (width - 1) / 2, horizon - 0.5)

    def render(self, index: int) -> Frame:
        """Render a frame by its number, 0 or more; the drive goes on beyond `num_frames`."""
        canvas = Canvas(self.camera(index), self._light, self.config.height, self.config.width)
        self._sky.paint(canvas)
        self.paint(canvas, index)
        time_s = index / self.config.rate_hz
        gain = 1 + self._drift[0] * math.sin(self._drift[1] * time_s + self._phase[6])
        return self._sensor.expose(canvas.rgb, gain, index), canvas.mask

    def paint(self, canvas: Canvas, index: int) -> None:
        """Paint the street of frame `index`, without the sky, as any camera sees it."""
        time_s = index / self.config.rate_hz
        paint_ground(canvas, self._street)
        z = float(canvas.camera.centre[2])
        items = self._street.items(z) + [mover(z, time_s) for mover in self._traffic]
        for item in sorted(items, key=_painting_order):
            sight_m = SIGHT_M if item.layer else NEAR_SIGHT_M
            if item.far > z + 0.5 and item.near < z + sight_m:
                item.paint(canvas)


def _painting_order(item: Item) -> tuple[float, float, float]:
    """Sort far blocks first, and within a block, where the road is nearly straight, by layer."""
    return -(item.near // BLOCK_M), -item.layer, -item.far


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Return world-to-camera rows (right, down, forward); angles in radians, yaw from z to x."""
    right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    ahead = np.array([math.sin(yaw), 0.0, math.cos(yaw)])
    up = np.array([0.0, 1.0, 0.0])
    forward = ahead * math.cos(pitch) + up * math.sin(pitch)
    down = ahead * math.sin(pitch) - up * math.cos(pitch)
    cosine, sine = math.cos(roll), math.sin(roll)
    return np.stack([cosine * right + sine * down, cosine * down - sine * right, forward])


def render_drive(config: DriveConfig) -> Iterator[Frame]:
    """Render a drive frame by frame."""
    drive = SyntheticDrive(config)
    for index in range(config.num_frames):
        yield drive.render(index)


def write_drive(
    config: DriveConfig,
    directory: Path | str,
    progress: Callable[[Iterator[Frame]], Iterable[Frame]] = iter,
) -> None:
    """Write a drive as frames/%06d.png, masks/%06d.png (class ids) and drive.json.

    Args:
        config: The drive.
        directory: Appears when everything is written.
        progress: Passes the frames on and may show how many there were.

    Raises:
        FileExistsError: If `directory` is there already and not an empty folder.
    """
    with new_folder(Path(directory)) as part:
        for name in ('frames', 'masks'):
            (part / name).mkdir()
        for index, (rgb, mask) in enumerate(progress(render_drive(config))):
            write_image(part / 'frames' / f'{index:06d}.png', rgb[..., ::-1])
            write_image(part / 'masks' / f'{index:06d}.png', mask)
        record = {'config': asdict(config), 'class_names': CAMVID_NAMES, 'palette': CAMVID_PALETTE}
        write_json(part / 'drive.json', record)


class _Sensor:
    """Turns painted colours into what a camera delivers: exposure, vignette, blur and noise."""

    def __init__(self, rng: np.random.Generator, config: DriveConfig) -> None:
        self._exposure = rng.uniform(1.05, 1.5)
        self._gamma = rng.uniform(1.1, 1.5)
        saturation, balance = rng.uniform(0.5, 0.95), 1 + rng.uniform(-0.035, 0.035, 3)
        grey = np.full((3, 3), (1 - saturation) / 3)
        self._colours = (grey + saturation * np.eye(3)) * balance[:, None]
        self._sigma_px = rng.uniform(0.45, 0.8) * max(config.height / 360, 0.6)
        y = np.linspace(-1, 1, config.height)[:, None]
        x = np.linspace(-1, 1, config.width)[None]
        fall = 255 * (1 - rng.uniform(0.03, 0.16) * (x**2 + y**2))
        self._vignette = cv2.merge([fall.astype(np.uint8)] * 3)
        strength = rng.uniform(1.0, 4.5)
        # Taken last: how many numbers it takes depends on the image size, the scene must not.
        bank = rng.standard_normal((config.height + 61, config.width + 67, 3), np.float32)
        self._noise = np.rint(bank * strength).astype(np.int16)

    def expose(self, rgb: NDArray[np.uint8], gain: float, index: int) -> NDArray[np.uint8]:
        """Return the sensor image of frame `index`, shape (H, W, 3)."""
        height, width = rgb.shape[:2]
        table = np.rint(255 * np.linspace(0, 1, 256) ** self._gamma).astype(np.uint8)
        image = cv2.GaussianBlur(rgb, (0, 0), self._sigma_px)
        image = cv2.transform(image, self._colours * (self._exposure * gain))
        image = cv2.LUT(image, table)
        image = cv2.multiply(image, self._vignette, None, 1 / 255)
        row, column = index * 37 % 61, index * 29 % 67
        noise = self._noise[row : row + height, column : column + width]
        noisy = cv2.add(image, noise, None, None, cv2.CV_8U)
        return noisy.astype(np.uint8, copy=False)


def _make_light(rng: np.random.Generator, cloud: float) -> tuple[Light, NDArray[np.float64]]:
    """Return the light and the colour of the sky overhead under a share of clouds in [0, 1]."""
    azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.9)
    flat = math.cos(height)
    sun = np.array([flat * math.sin(azimuth), math.sin(height), flat * math.cos(azimuth)])
    # At dusk the ground is far darker than the sky.
    dim = rng.uniform(0.3, 0.65) if rng.random() < 0.3 else 1.0
    direct = 0.8 * dim * max(0.0, 1 - 1.3 * cloud)
    ambient = 0.95 * dim - 0.6 * direct
    blue, grey = np.array([118, 160, 214]) * dim**0.4, np.array([206, 210, 215]) * dim**0.3
    low = np.array([230, 235, 240]) * rng.uniform(0.9, 1.06) * dim**0.3 + rng.uniform(-6, 6, 3)
    light = Light(sun, ambient, direct, low * 0.94, rng.uniform(180, 800) / dim**0.5)
    return light, blue + (grey - blue) * cloud
