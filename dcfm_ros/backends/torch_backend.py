"""The network in PyTorch, arranged so that a non-key frame does no more work than it must.

Shapes: H W camera image, K classes, C_F common channels, C_f independent channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.folding import fold_batch_norms
from dcfm_ros.backends.split_fusion import as_staged
from dcfm_ros.backends.tensor_backend import TensorBackend, Tensors
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.threads import tell_torch

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""By precision."""


class TorchBackend(TensorBackend):
    """Runs the parts of a network in PyTorch on one device."""

    name = 'torch'

    def __init__(
        self, net: DCFM | StagedNetwork, device: str | torch.device, precision: str = 'auto'
    ) -> None:
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
        self.staged = as_staged(self.net)
        """The same, in parts."""
        self.staged.freeze()
        dtype = next(net.parameters()).dtype
        side = self.staged.least_size
        probe = torch.zeros(1, 3, side, side, dtype=dtype, device=device)
        fold_batch_norms(self.staged.foldable, lambda: self._run_plain(probe))
        self._dtype = DTYPES.get(precision, dtype)
        self.precision = next((p for p, d in DTYPES.items() if d == self._dtype), str(dtype))
        self.staged.to(self._dtype).to(memory_format=torch.channels_last)
        self.net.mean, self.net.std = net.mean.to(device), net.std.to(device)  # unrounded
        steps = [*self.staged.deep_steps(), self.staged.to_cached]
        self._steps = [torch.inference_mode()(step) for step in steps]
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
        return self.staged.encode_independent(image)

    @torch.inference_mode()
    def deep_task(self, independent: Independent) -> DeepTask:
        """See `Backend.deep_task`: a step per block of the encoder, then what is left."""
        # Step durations depend on the size of the image.
        step_ms = self._step_ms.setdefault(tuple(independent.state.shape), [])
        return DeepTask(self._steps, self.staged.start(independent), self.wait, step_ms)

    @torch.inference_mode()
    def decode(self, cached: Sequence[Tensors], independent: Independent) -> Tensor:
        """See `Backend.decode`."""
        return self.staged.decode_all(cached, independent)

    def _run_plain(self, tensor: Tensor) -> Tensor:
        independent = self.staged.encode_independent(tensor)
        deep = self.staged.start(independent)
        for step in self.staged.deep_steps():
            deep = step(deep)
        return self.staged.decode(self.staged.to_cached(deep), independent)
