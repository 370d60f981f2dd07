"""The network in the paper's plain order, in eager PyTorch: the yardstick of the engine.

Concatenate, fuse with all multiply-adds, logits at full size, argmax (Eq. 3 to 7, Fig. 3); the
all-MLP tail resizes first and convolves afterwards, as SegFormer defines it.
Shapes: H W camera image, K classes, C_F common channels, h w common grid.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.benchmark.interleave import Answer
from dcfm_ros.keyframes.stage_timer import StageTimer
from dcfm_ros.models.backbone import AllMLPFuse, DeepState, DeepStep
from dcfm_ros.models.dcfm import DCFM


class PlainFuse(nn.Module):
    """`AllMLPFuse` as defined: project, resize, concatenate, 1x1 convolution, BN, ReLU."""

    def __init__(self, fuse: AllMLPFuse) -> None:
        super().__init__()
        self.merged = fuse

    def steps(self) -> list[DeepStep]:
        """All of it as one step."""
        return [self._run]

    def _run(self, state: DeepState) -> DeepState:
        fuse, size = self.merged, state.stages[0].shape[-2:]
        parts = [
            F.interpolate(linear(x), size, mode='bilinear', align_corners=False)
            for linear, x in zip(fuse.linear, state.stages, strict=True)
        ]
        return DeepState(F.relu(fuse.norm(fuse.fuse(torch.cat(parts[::-1], dim=1)))))


class PlainOrder:
    """Runs a network as the paper describes it, frame by frame, in float32."""

    def __init__(self, net: DCFM, device: str) -> None:
        plain = copy.deepcopy(net).eval().requires_grad_(False)
        fuse = getattr(plain.encoder, 'fuse', None)
        if isinstance(fuse, AllMLPFuse):
            plain.encoder.fuse = PlainFuse(fuse)
        # Not in the paper, but the faster layout for the plain order too.
        self.net = plain.to(device).to(memory_format=torch.channels_last)
        self._device = device

    @torch.inference_mode()
    def common(self, image: NDArray[np.uint8]) -> Tensor:
        """Common feature of a keyframe, (1, C_F, h, w)."""
        return self.net.encode_common(self.net.encode_independent(self._to_input(image)))

    @torch.inference_mode()
    def segment(self, image: NDArray[np.uint8], *cached: Tensor) -> Answer:
        """Segment a keyframe, or a non-key frame with the common features of one or two others."""
        net, timer = self.net, StageTimer(self._wait)
        size = (image.shape[0], image.shape[1])
        with timer.stage('preprocess'):
            tensor = self._to_input(image)
        with timer.stage('independent'):
            independent = net.encode_independent(tensor)
        with timer.stage('common'):
            common = cached or [net.encode_common(independent)]
        with timer.stage('fusion'):
            fused = [net.fuse(c, independent) for c in common]
        with timer.stage('head'):
            logits = net.decode(fused[0], size)
            for other in fused[1:]:
                logits = logits + net.decode(other, size)
        with timer.stage('mask'):
            mask = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
        return Answer(np.asarray(mask, np.uint8), timer.stage_ms)

    def _wait(self) -> None:
        if self._device != 'cpu':
            torch.cuda.synchronize(self._device)

    def _to_input(self, image: NDArray[np.uint8]) -> Tensor:
        dtype = next(self.net.parameters()).dtype
        tensor = torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None]
        return tensor.to(dtype, memory_format=torch.channels_last).div_(255)
