"""Images in several sizes and encodings, and the masks that a node may answer them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
import zlib

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dcfm_ros.backends.choice import Network
from dcfm_ros.engine import SegmentationEngine, load_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models.checkpoint_header import find_checkpoint, read_metadata
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.ros.messages import array_to_image
from dcfm_ros.synthetic.drive import DriveConfig

Array = NDArray[np.uint8]
NODE_OPTIONS = {'keyframe_interval': 1, 'mask_blending': 0.0, 'device': 'cpu', 'cpu_threads': 1}
"""Parameters of a node whose masks depend on nothing but the image."""
NUM_USUAL = 4
"""The first pictures have the size and encoding of a camera that works as always."""
_USUAL = 96, 128
_UNUSUAL = [((192, 256), 'bgr8'), ((48, 64), 'mono8'), ((61, 99), 'rgb8'), ((96, 128), 'bgra8')]
_STEP_NS = 33_000_000
_TO_RGB: dict[str, Callable[[Array], Array]] = {
    'rgb8': lambda pixels: pixels,
    'bgr8': lambda pixels: pixels[..., ::-1],
    'bgra8': lambda pixels: pixels[..., 2::-1],
    'mono8': lambda pixels: np.stack([pixels] * 3, axis=-1),
}
_FROM_RGB: dict[str, Callable[[Array], Array]] = {
    'rgb8': lambda image: image,
    'bgr8': lambda image: image[..., ::-1],
    'bgra8': lambda image: np.dstack([image[..., ::-1], image[..., 0]]),
    'mono8': lambda image: image[..., 1],
}


@dataclass(frozen=True)
class Picture:
    """Pixels as a camera sends them."""

    encoding: str
    pixels: Array
    """(H, W) or (H, W, C)."""
    masks: frozenset[int] = frozenset()
    """CRC-32 of the masks that are right: those of each way in which the network may be run."""

    @property
    def rgb(self) -> Array:
        """What the network is given, (H, W, 3)."""
        return np.ascontiguousarray(_TO_RGB[self.encoding](self.pixels))

    def message(self, header: Header) -> Image:
        """The picture as a message."""
        return array_to_image(self.pixels, self.encoding, header)


def make_pictures(seed: int) -> list[Picture]:
    """Usual pictures, then others, all with their masks."""
    kinds = [*[(_USUAL, 'rgb8')] * NUM_USUAL, *_UNUSUAL]
    pictures = []
    for number, ((height, width), encoding) in enumerate(kinds):
        drive = DriveConfig(height=height, width=width, num_frames=1, seed=seed + number)
        (frame,) = synthetic_frames(drive)
        pixels = np.ascontiguousarray(_FROM_RGB[encoding](frame.image))
        pictures.append(Picture(encoding, pixels))
    accepted = _accepted_masks([picture.rgb for picture in pictures])
    return [
        Picture(picture.encoding, picture.pixels, masks)
        for picture, masks in zip(pictures, accepted, strict=True)
    ]


def _accepted_masks(images: Sequence[Array]) -> list[frozenset[int]]:
    """Of the stages for one size, of those for any size, and of PyTorch, which may stand in."""
    sized: dict[tuple[int, ...], SegmentationEngine] = {}
    net = _load('auto')
    ways = [
        [_masks(sized.setdefault(image.shape, _engine(net)), [image])[0] for image in images],
        # By then two other sizes have stages of their own, and no more get them at once.
        _masks(_engine(net), [*(np.zeros((n, n, 3), np.uint8) for n in (24, 32)), *images])[2:],
    ]
    with suppress(ModuleNotFoundError):  # then it cannot stand in either
        ways.append(_masks(_engine(_load('torch')), images))
    return [frozenset(masks) for masks in zip(*ways, strict=True)]


def _options(backend: str) -> EngineOptions:
    height = read_metadata(find_checkpoint(None)).image_height
    return EngineOptions(device='cpu', backend=backend, mask_blending=0.0, inference_height=height)


def _load(backend: str) -> tuple[Network, EngineOptions]:
    options = _options(backend)
    return load_network(None, options), options


def _engine(loaded: tuple[Network, EngineOptions]) -> SegmentationEngine:
    return SegmentationEngine(*loaded, ScheduleOptions(keyframe_interval=1))


def _masks(engine: SegmentationEngine, images: Iterable[Array]) -> list[int]:
    """CRC-32 of the masks of images, one after another."""
    steps = (engine.step(image, number * _STEP_NS) for number, image in enumerate(images, 1))
    return [zlib.crc32(step.mask.tobytes()) for step in steps]
