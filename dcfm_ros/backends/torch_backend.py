"""The network in PyTorch, arranged so that a non-key frame does no more work than it must.

Shapes: H W camera image, K classes, C_F common channels, C_f independent channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.folding import fold_batch_norms
from dcfm_ros.backends.split_fusion import SplitFusion, decode, mean, split_fusion
from dcfm_ros.backends.tensor_backend import TensorBackend
from dcfm_ros.models.backbone import DeepState, Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.threads import tell_torch

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""By precision."""


class TorchBackend(TensorBackend):
    """Runs the stages of a DCFM in PyTorch on one device.

    The fusion is split, see `split_fusion`: a `deep_task` returns a keyframe's half for the engine
    to cache, and a non-key frame adds its own: about a tenth of the work. A network whose `fuse`
    is not such a sum (`fuses_linearly` is False) runs it unchanged.
    """

    name = 'torch'

    def __init__(self, net: DCFM, device: str | torch.device, precision: str = 'auto') -> None:
        """Prepare a copy of the network.

        Args:
            net: The network; left as it is.
            device: Where it runs.
            precision: 'fp32', 'bf16' or 'fp16', to which weights are rounded after batch norms
                are folded; 'auto': that of `net`.

        Raises:
            ValueError: If the precision is unknown.
        """
        if precision not in ('auto', *DTYPES):
            allowed = ', '.join(('auto', *DTYPES))
            raise ValueError(f'`precision` must be one of {allowed}, got {precision!r}')
        tell_torch()
        self.device = str(device)
        self.net = copy.deepcopy(net).eval().requires_grad_(False).to(device)
        self._is_split = net.fuses_linearly
        if self._is_split:
            self._halves = split_fusion(self.net)
        dtype = next(self.net.parameters()).dtype
        probe = torch.zeros(1, 3, 64, 64, dtype=dtype, device=device)
        fold_batch_norms(self.net, lambda: self._run_plain(probe))
        self._dtype = DTYPES.get(precision, dtype)
        self.precision = next((p for p, d in DTYPES.items() if d == self._dtype), str(dtype))
        self.net.to(self._dtype).to(memory_format=torch.channels_last)
        self.net.mean, self.net.std = net.mean.to(device), net.std.to(device)  # unrounded
        if self._is_split:
            self._halves = SplitFusion(*(half.to(self._dtype) for half in self._halves))
        self._encoder_steps = [torch.inference_mode()(s) for s in self.net.encoder.deep_steps()]
        self._step_ms: dict[tuple[int, ...], list[float]] = {}

    @torch.inference_mode()
    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB (H, W, 3) uint8 -> (1, 3, H, W) in [0, 1] on the device."""
        writable = np.require(image, requirements='W')  # else PyTorch warns
        return self.from_bytes(torch.from_numpy(writable)[None].to(self.device))

    @torch.inference_mode()
    def from_bytes(self, image: Tensor) -> Tensor:
        """The same of (1, H, W, 3) uint8 on the device."""
        planes = image.permute(0, 3, 1, 2)
        return planes.to(self._dtype, memory_format=torch.channels_last).div_(255)

    @torch.inference_mode()
    def encode_independent(self, image: Tensor) -> Independent:
        """See `Backend.encode_independent`."""
        return self.net.encode_independent(image)

    def deep_task(self, independent: Independent) -> DeepTask:
        """See `Backend.deep_task`: a step per block of the encoder, then those of the fusion."""
        state = self.net.encoder.start(independent.state)
        # Step durations depend on the size of the image.
        step_ms = self._step_ms.setdefault(tuple(independent.state.shape), [])
        steps: list[Callable[[Any], Any]] = [*self._encoder_steps, self._to_common, self._project]
        return DeepTask(steps, state, self.wait, step_ms)

    @torch.inference_mode()
    def _to_common(self, state: DeepState) -> Tensor:
        return self.net.to_common(state.x)

    @torch.inference_mode()
    def _project(self, common: Tensor) -> Tensor:
        if not self._is_split:
            return common
        return F.conv2d(common, self._halves.common, self._halves.bias)

    @torch.inference_mode()
    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """See `Backend.decode`."""
        if self._is_split:
            return decode(self.net, self._halves, cached, independent.feature)
        return mean([self.net.classify(self.net.fuse(c, independent)) for c in cached])

    def _run_plain(self, tensor: Tensor) -> Tensor:
        independent = self.net.encode_independent(tensor)
        fused = self.net.fuse(self.net.encode_common(independent), independent)
        return self.net.classify(fused)
