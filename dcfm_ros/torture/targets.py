"""The nodes under fire: what each takes, what it must answer, and how it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import json
import random
from typing import Any, NamedTuple
import zlib

import cv2
from nav_msgs.msg import OccupancyGrid
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String

from dcfm_ros.ros.camera_topics import LATCHED
from dcfm_ros.ros.messages import array_to_image, as_array
from dcfm_ros.torture import messages

Draw = Callable[[random.Random], messages.Message]
_LABELS = {
    '0': {'name': 'sky', 'rgb': [1, 2, 3]},
    '3': {'name': 'road', 'rgb': [9, 9, 9]},
    '8': {'name': 'car', 'rgb': [255, 0, 9]},
}
_MASK = np.full((60, 80), 3, np.uint8)
_MASK[:30] = 0
_MASK[20:45, 36:44] = 8
_DEPTH = np.linspace(500, 9000, 60 * 80).astype(np.uint16).reshape(60, 80)
_K = [75.0, 0.0, 39.5, 0.0, 75.0, 29.5, 0.0, 0.0, 1.0]


class Input(NamedTuple):
    """A topic that hostile messages go to."""

    kind: Any
    draw: Draw
    weight: int
    """Share of the messages, beside the other inputs of the node."""
    qos: Any = 10
    is_state: bool = False
    """Whether the node keeps the last message: a good one must follow."""


@dataclass(frozen=True)
class Target:
    """A node program, its topics, good messages for it, and the count of what it was sent."""

    name: str
    """Its namespace, too."""
    program: str
    """Module."""
    node: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Input]
    """By topic; images in the order in which a robot publishes them."""
    counted: str
    """The input whose every message is answered or counted."""
    answer: tuple[str, Any]
    """Topic and type of what is answered."""
    make_good: Callable[[Header], dict[str, Any]]
    """One good message for each input, by topic."""
    ends: Callable[[str], bool]
    """Whether a value of the diagnostics, 'task/key', counts what became of messages."""
    refusals: str
    """Value that counts what was refused."""

    @property
    def full_name(self) -> str:
        """Of the node."""
        return f'/{self.name}/{self.node}'

    def checksum(self, answer: Any) -> int:
        """CRC-32 of what an answer says."""
        return zlib.crc32(bytes(answer.data))


_INFO = Input(CameraInfo, messages.camera_info, 2, is_state=True)
_NAMES = Input(String, messages.labels, 2, LATCHED, is_state=True)
_GOOD_NAMES = String(data=json.dumps(_LABELS))


def targets(image: NDArray[np.uint8]) -> list[Target]:
    """All node programs of the package; the segmentation node with each transport.

    Args:
        image: What is shown to it, RGB, (H, W, 3).
    """
    return [*_segmentation(image), _cloud(), _ground(), _runs()]


def _segmentation(image: NDArray[np.uint8]) -> list[Target]:
    # Every mask stands for its image alone, whatever came before.
    alone = {'keyframe_interval': 1, 'mask_blending': 0.0, 'cpu_threads': 1, 'device': 'cpu'}
    png = as_array(cv2.imencode('.png', image[..., ::-1])[1])
    both: dict[str, Any] = {
        'program': 'dcfm_ros.node',
        'node': 'segmentation_node',
        'answer': ('mask', Image),
        'ends': lambda key: key.startswith('images/dropped_') or key == 'masks/frames_answered',
        'refusals': 'images/dropped_refused',
    }
    return [
        Target(
            name='raw',
            parameters={**alone, 'publish_camera_info': True},
            inputs={'image': Input(Image, messages.image, 8), 'camera_info': _INFO},
            counted='image',
            make_good=lambda header: {
                'camera_info': _calibration(header),
                'image': array_to_image(image, 'rgb8', header),
            },
            **both,
        ),
        Target(
            name='compressed',
            parameters={**alone, 'image_transport': 'compressed'},
            inputs={'image/compressed': Input(CompressedImage, messages.compressed_image, 1)},
            counted='image/compressed',
            make_good=lambda header: {
                'image/compressed': CompressedImage(header=header, format='png', data=png)
            },
            **both,
        ),
    ]


def _cloud() -> Target:
    return Target(
        name='cloud',
        program='dcfm_ros.cloud.node',
        node='semantic_cloud_node',
        parameters={},
        inputs={
            'depth/camera_info': _INFO,
            'labels': _NAMES,
            'depth/image': Input(Image, messages.depth, 4),
            'mask': Input(Image, messages.mask, 3),
            'confidence': Input(Image, messages.mask, 3),
        },
        counted='depth/image',
        answer=('points', PointCloud2),
        make_good=lambda header: {
            'depth/camera_info': _calibration(header),
            'labels': _GOOD_NAMES,
            'mask': array_to_image(_MASK, 'mono8', header),
            'confidence': array_to_image(np.full_like(_MASK, 200), 'mono8', header),
            'depth/image': _depth_image(header),
        },
        ends=lambda key: key.startswith('depth images/dropped_') or key == 'clouds/clouds',
        refusals='depth images/dropped_refused',
    )


def _ground() -> Target:
    return Target(
        name='ground',
        program='dcfm_ros.ground.node',
        node='ground_grid_node',
        parameters={'camera_height': 1.0, 'base_frame': 'base', 'resolution': 0.1},
        inputs={
            'camera_info': _INFO,
            'labels': _NAMES,
            'mask': Input(Image, messages.mask, 6),
        },
        counted='mask',
        answer=('ground_grid', OccupancyGrid),
        make_good=lambda header: {
            'camera_info': _calibration(header),
            'labels': _GOOD_NAMES,
            'mask': array_to_image(_MASK, 'mono8', header),
        },
        ends=lambda key: key.startswith('masks/dropped_') or key == 'grids/grids',
        refusals='masks/dropped_refused',
    )


def _runs() -> Target:
    return Target(
        name='runs',
        program='dcfm_ros.ros.run_length_node',
        node='run_length_node',
        parameters={},
        inputs={'labels': _NAMES, 'mask': Input(Image, messages.mask, 4)},
        counted='mask',
        answer=('mask/rle', Image),
        make_good=lambda header: {
            'labels': _GOOD_NAMES,
            'mask': array_to_image(_MASK, 'mono8', header),
        },
        ends=lambda key: key.startswith('masks/masks_') and key != 'masks/masks_received',
        refusals='masks/masks_refused',
    )


def _calibration(header: Header) -> CameraInfo:
    return CameraInfo(header=header, width=80, height=60, k=_K, distortion_model='plumb_bob')


def _depth_image(header: Header) -> Image:
    message = array_to_image(_DEPTH.view(np.uint8), '16UC1', header)
    message.width = _DEPTH.shape[1]
    return message
