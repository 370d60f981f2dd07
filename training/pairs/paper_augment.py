"""The paper's augmentation of each dataset: geometry shared by both frames and the label.

The paper names the operations, its released code the order and the figures. Two things that the
released code does by mistake are off unless asked for: colour jitter on Cityscapes' labelled
frame alone (`jitter_reference=False`), and none at all on CamVid (`jitter=0`).

As in the released code, rotation takes the nearest pixel of images too, and a frame smaller than
the crop is padded by the whole deficit on either side.

Shapes: H W image, h w output.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.pairs.augment import PairAugmentation

Image = NDArray[np.uint8]


class _PaperAugmentation(PairAugmentation):
    """Geometry that depends on one random scale, then colour jitter, drawn for each frame.

    Raises:
        ValueError: If a size is below 32 pixels or `jitter` outside [0, 0.5].
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float],
        jitter: float,
        jitter_reference: bool = True,
    ) -> None:
        if min(size) < 32:
            raise ValueError(f'`size` must be at least 32 pixels each way, got {size}')
        if not 0 <= jitter <= 0.5:
            raise ValueError(f'`jitter` must be in [0, 0.5], got {jitter}')
        self.size = (size[0], size[1])
        self.jitter_reference = jitter_reference
        self.scale = scale
        self.jitter = v2.ColorJitter(jitter, jitter, jitter, jitter)

    @abstractmethod
    def geometry(self, scale: float, focus: int | None = None) -> list[v2.Transform]:
        """The operations in their order, ending at `size`; the crop shows `focus`."""

    def __call__(
        self,
        reference: Image,
        labelled: Image,
        label: Image,
        rng: np.random.Generator,
        focus: int | None = None,
    ) -> tuple[Image, Image, Image]:
        """Vary a pair."""
        # Both frames as one batch: whatever happens to the one happens to the other.
        images = [labelled] if reference is labelled else [reference, labelled]
        frames = tv_tensors.Image(np.stack(images).transpose(0, 3, 1, 2))
        mask = tv_tensors.Mask(label.copy())
        transform = v2.Compose(self.geometry(float(rng.uniform(*self.scale)), focus))
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: it would seed CUDA too, which is not put back afterwards.
            torch.default_generator.manual_seed(int(rng.integers(2**63)))
            frames, mask = transform(frames, mask)
            first, second = frames[0], frames[-1]
            if self.jitter_reference:
                first = self.jitter(first)
            second = self.jitter(second)
        return _to_array(first), _to_array(second), mask.numpy()


class VspwAugmentation(_PaperAugmentation):
    """VSPW: resize the whole frame, rotate, crop, flip."""

    def __init__(self, size: tuple[int, int] = (480, 853), jitter: float = 0.2) -> None:
        """Take the paper's values, or others.

        Args:
            size: Height and width of what comes out, and of the whole frame at scale 1, pixels.
            jitter: Greatest relative change of brightness, contrast and saturation, and greatest
                turn of the hue, in [0, 0.5].
        """
        super().__init__(size, (0.5, 2.0), jitter)

    def geometry(self, scale: float, focus: int | None = None) -> list[v2.Transform]:
        """The whole frame at 0.5 to 2 times the size, 20 degrees to either side, black beyond."""
        resized = (int(self.size[0] * scale), int(self.size[1] * scale))
        return [_Resize(resized), _Rotation(20, fill=0), _Crop(self.size, focus), _FLIP]


class CityscapesAugmentation(_PaperAugmentation):
    """Cityscapes: rotate, crop, resize the crop, flip."""

    def __init__(
        self, size: int = 512, jitter: float = 0.3, jitter_reference: bool = True
    ) -> None:
        """Take the paper's values, or others.

        Args:
            size: Height of what comes out, half its width, pixels: 512 for a MiT, 768 for a
                ResNet.
            jitter: Greatest relative change of brightness, contrast and saturation, and greatest
                turn of the hue, in [0, 0.5].
            jitter_reference: False leaves the reference frame's colours alone, as the released
                code does.
        """
        super().__init__((size, 2 * size), (0.5, 2.0), jitter, jitter_reference)

    def geometry(self, scale: float, focus: int | None = None) -> list[v2.Transform]:
        """10 degrees to either side, white beyond; a crop of 0.5 to 2 times the size."""
        crop = int(self.size[0] * scale)
        return [_Rotation(10, fill=255), _Crop((crop, 2 * crop), focus), _Resize(self.size), _FLIP]


class CamVidAugmentation(_PaperAugmentation):
    """CamVid: rotate, crop, flip, resize the crop."""

    def __init__(self, size: int = 640, jitter: float = 0.3) -> None:
        """Take the paper's values, or others.

        Args:
            size: Height and width of what comes out, pixels.
            jitter: Greatest relative change of brightness, contrast and saturation, and greatest
                turn of the hue, in [0, 0.5]. The paper gives no figure: Cityscapes' is taken.
                0: none, as the released code does.
        """
        super().__init__((size, size), (0.5, 1.0), jitter)

    def geometry(self, scale: float, focus: int | None = None) -> list[v2.Transform]:
        """10 degrees to either side, white beyond; a crop of 0.5 to 1 times the size."""
        crop = int(self.size[0] * scale)
        return [_Rotation(10, fill=255), _Crop((crop, crop), focus), _FLIP, _Resize(self.size)]


class _Resize(v2.Transform):
    """Bilinear and anti-aliased for images, the nearest pixel's centre for masks.

    torchvision's own `Resize` moves masks by up to half a pixel against the image.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = list(size)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        if not isinstance(inpt, tv_tensors.Mask):
            return F.resize(inpt, self.size, antialias=True)
        nearest = v2.InterpolationMode.NEAREST_EXACT
        return tv_tensors.wrap(F.resize_image(inpt[None], self.size, nearest)[0], like=inpt)


class _Rotation(v2.Transform):
    """Up to an angle to either side; the nearest pixel for images and masks.

    torchvision's own gives the same and takes 0.45 s for a pair of 1024x2048 frames, this 5 ms.
    """

    def __init__(self, degrees: float, fill: int) -> None:
        super().__init__()
        self.degrees = degrees
        self.fill = fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {'angle': float(torch.empty(1).uniform_(-self.degrees, self.degrees))}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        height, width = inpt.shape[-2:]
        centre = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, params['angle'], 1.0)
        fill = UNLABELLED if isinstance(inpt, tv_tensors.Mask) else self.fill
        planes = inpt.reshape(-1, height, width).numpy()
        nearest = {'flags': cv2.INTER_NEAREST, 'borderValue': fill}
        rotated = [cv2.warpAffine(plane, matrix, (width, height), **nearest) for plane in planes]
        return tv_tensors.wrap(torch.from_numpy(np.stack(rotated)).view(inpt.shape), like=inpt)


class _Crop(v2.RandomCrop):
    """A random place, black beyond the frame; with a focus one that shows a pixel of that class.

    That pixel is drawn with torch, as all else here.
    """

    def __init__(self, size: tuple[int, int], focus: int | None) -> None:
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: UNLABELLED}
        super().__init__(size, pad_if_needed=True, fill=fill)
        self.focus = focus

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        params: dict[str, Any] = super().make_params(flat_inputs)
        mask = next(item for item in flat_inputs if isinstance(item, tv_tensors.Mask))
        pixels = torch.nonzero(mask == self.focus) if self.focus is not None else ()
        if not len(pixels):
            return params
        left, top, right, bottom = params['padding']
        pixel = pixels[int(torch.randint(len(pixels), ()))]
        for name, axis, before, after in (('top', 0, top, bottom), ('left', 1, left, right)):
            at, length = int(pixel[axis]) + before, self.size[axis]
            most = mask.shape[axis] + before + after - length
            first, last = max(at - length + 1, 0), min(at, most)
            params[name] = int(torch.randint(first, last + 1, ()))
        return params


_FLIP = v2.RandomHorizontalFlip(0.5)


def _to_array(image: Tensor) -> Image:
    return np.ascontiguousarray(image.numpy().transpose(1, 2, 0))
