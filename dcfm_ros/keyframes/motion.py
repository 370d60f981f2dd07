"""Moving a keyframe's feature to where its content is by now.

The paper fuses a keyframe's common feature with a later frame as if nothing had moved (Eq. 5), so
that its masks lag behind what moves. The optical flow between the two images, made small, tells
where everything went, for a few milliseconds.
Shapes: C_F common channels, h w feature grid.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.models.config import MOTIONS

Picture = NDArray[np.uint8]
"""What the flow is found in: grey, half as high and wide as the image."""

_LEAST_SIDE = 32
"""Rows and columns of the smallest picture in which flow is looked for."""
_MOST_CHANNELS = 128
"""What OpenCV takes in an image."""
Places = NDArray[np.float32]


class OpticalFlow:
    """Dense flow between two images (DIS, Kroeger et al., ECCV 2016); not thread-safe."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def picture(self, image: NDArray[np.uint8]) -> Picture:
        """RGB (H, W, 3) -> what `align` compares; a copy."""
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(half, cv2.COLOR_RGB2GRAY), np.uint8)

    def align(self, feature: Tensor, then: Picture | None, now: Picture | None) -> Tensor:
        """Feature of one image, moved to where its content lies in another one.

        Args:
            feature: (1, C_F, h, w), on any device.
            then: Picture of the image that it belongs to.
            now: Picture of the other one, of the same size.

        Returns:
            (1, C_F, h, w); the same tensor if there are no pictures, or too small ones.
        """
        if then is None or now is None or min(now.shape) < _LEAST_SIDE:
            return feature
        flow = self._flow.calc(now, then, None)  # for every place now: where it was then
        return moved(feature, np.asarray(flow, np.float32))


def make_motion(name: str) -> OpticalFlow | None:
    """What is done about motion, by its name; None if nothing is.

    Raises:
        ValueError: If there is none of that name, see `MOTIONS`.
    """
    if name not in MOTIONS:
        raise ValueError(f'`motion` must be auto or one of {", ".join(MOTIONS)}, got {name!r}')
    return OpticalFlow() if name == 'flow' else None


def moved(feature: Tensor, flow: NDArray[np.float32]) -> Tensor:
    """Take every vector of a feature from somewhere else, bilinearly; its edge goes on outside.

    Args:
        feature: (1, C_F, h, w), on any device.
        flow: (H, W, 2), x and y in its own pixels from where to take, of any size.
    """
    height, width = feature.shape[-2:]
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    shift = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * scale
    x = np.arange(width, dtype=np.float32) + shift[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + shift[..., 1]
    take = taken_by_opencv if feature.device.type == 'cpu' else taken_by_torch
    return take(feature.float(), x, y).to(feature.dtype)


def taken_by_torch(feature: Tensor, x: Places, y: Places) -> Tensor:
    """Vectors of a float32 feature at places (h, w), on its device."""
    height, width = feature.shape[-2:]
    places = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    grid = torch.from_numpy(places)[None].to(feature.device)
    taken = F.grid_sample(feature, grid, padding_mode='border', align_corners=False)
    return taken.contiguous(memory_format=torch.channels_last)  # as features lie


def taken_by_opencv(feature: Tensor, x: Places, y: Places) -> Tensor:
    """The same on the CPU, in steps of 1/32 between neighbours.

    A vector lies in one piece here, which is ten times as fast as `grid_sample` of planes.
    """
    vectors = feature[0].permute(1, 2, 0).contiguous().numpy()
    parts = [
        cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for part in np.split(vectors, range(_MOST_CHANNELS, vectors.shape[-1], _MOST_CHANNELS), -1)
    ]
    both = np.dstack(parts) if len(parts) > 1 or parts[0].ndim == 2 else parts[0]
    return torch.from_numpy(both).permute(2, 0, 1)[None]
