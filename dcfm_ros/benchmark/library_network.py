"""A network of another library as that library runs it: all of it, on every frame.

Shapes: B batch, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy
from typing import cast

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.benchmark.interleave import Answer
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.keyframes.stage_timer import StageTimer
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.image_networks.image_network import ImageNetwork
from dcfm_ros.models.image_networks.segformer import AllMLPDecoder
from dcfm_ros.models.staged import StagedNetwork, Step


class LibraryNetwork(StagedNetwork):
    """All stages are a frame's own, and the decoder is whole, as its library defines it.

    An engine runs it, so that it has the same backend and argmax as its rival; what is cached is
    not used.
    """

    def __init__(self, net: ImageNetwork) -> None:
        super().__init__()
        self.config = net.config
        self.least_size = net.least_size
        self.net = copy.deepcopy(net).eval()
        decoder = self.net.decoder.decoder
        self.decoder = PlainAllMLP(decoder) if isinstance(decoder, AllMLPDecoder) else decoder
        for name in ('mean', 'std'):
            self.register_buffer(name, getattr(net, name), persistent=False)

    def shallow(self, image: Tensor) -> Independent:
        """See `StagedNetwork.shallow`: all that the decoder looks at."""
        features = self.net.features(image)
        return Independent(features[-1], features[-1], tuple(features[:-1]))

    def start(self, independent: Independent) -> Tensor:
        """See `StagedNetwork.start`."""
        return independent.state

    def deep_steps(self) -> list[Step]:
        """See `StagedNetwork.deep_steps`: none."""
        return []

    def to_cached(self, deep: Tensor) -> tuple[Tensor, ...]:
        """See `StagedNetwork.to_cached`: a backend wants something to cache."""
        return (deep[:, :1],)

    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """See `StagedNetwork.decode`."""
        return cast('Tensor', self.decoder([*independent.skips, independent.feature]))


class PlainAllMLP(nn.Module):
    """SegFormer's head as defined: project, resize, concatenate, 1x1 convolution, BN, ReLU."""

    def __init__(self, merged: AllMLPDecoder) -> None:
        super().__init__()
        self.merged = merged

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """As `AllMLPDecoder.forward`."""
        head = self.merged
        size = features[0].shape[-2:]
        parts = [
            F.interpolate(_project(linear, x), size, mode='bilinear', align_corners=False)
            for linear, x in zip(head.linear_c, features, strict=True)
        ]
        joined = F.relu(head.batch_norm(head.linear_fuse(torch.cat(parts[::-1], dim=1))))
        return cast('Tensor', head.classifier(joined))


def _project(linear: nn.Module, x: Tensor) -> Tensor:
    projected: Tensor = linear(x.permute(0, 2, 3, 1))
    return projected.permute(0, 3, 1, 2)


class LibraryOrder:
    """Runs it in eager PyTorch: logits at full size, argmax. The yardstick of the engine."""

    def __init__(self, net: ImageNetwork, device: str) -> None:
        self._net = LibraryNetwork(net).requires_grad_(False).to(device).float()
        self._device = device

    @torch.inference_mode()
    def segment(self, image: NDArray[np.uint8]) -> Answer:
        """Segment an image, (H, W, 3); resized as by the engine if its size does not fit."""
        timer = StageTimer(self._wait)
        with timer.stage('preprocess'):
            small = shrink(image, 0, self._net.config.size_multiple)
            tensor = torch.from_numpy(small).to(self._device).permute(2, 0, 1)[None].float() / 255
        with timer.stage('network'):
            independent = self._net.encode_independent(tensor)
            logits = self._net.decode((), independent)
        with timer.stage('mask'):
            size = image.shape[:2]
            logits = F.interpolate(logits, size, mode='bilinear', align_corners=False)
            mask = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        return Answer(np.asarray(mask, np.uint8), timer.stage_ms)

    def _wait(self) -> None:
        if self._device != 'cpu':
            torch.cuda.synchronize(self._device)
