"""The network in PyTorch on CUDA: every stage a CUDA graph, which one call of the CPU starts.

A non-key frame is many small kernels, and starting them one by one takes the CPU longer than the
GPU needs for them. Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.graph_backend import GraphBackend, Ready
from dcfm_ros.backends.graphs import Stage, Tensors
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent

_WARM_UPS = 3
"""Runs before a capture: libraries choose their kernels and take their memory in them."""
_TOLERANCE = 1e-2
"""Of what a graph gives, as a share of the largest value: kernels may add in another order."""


class CudaBackend(GraphBackend):
    """Replays stages that were captured once for a size of image.

    A capture is compared with the stage itself, on other memory than it was captured with; where
    they differ, or CUDA refuses, PyTorch goes on kernel by kernel.
    """

    name = 'torch'
    runner = 'CUDA graphs'

    def __init__(self, backend: TorchBackend, *, num_slices: int = 1) -> None:
        """Take the network; stages are captured later.

        Args:
            backend: On the GPU.
            num_slices: Stages that the deep encoder is cut into.
        """
        super().__init__(backend, num_slices=num_slices)
        self.precision = backend.precision
        self._device = backend.device

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """See `Backend.to_input`; (1, H, W, 3) uint8 on the GPU.

        The CPU does not wait: the pinned memory is kept from other use until it was copied.
        """
        pinned = torch.from_numpy(image)[None].pin_memory()
        return pinned.to(self._device, non_blocking=True)

    def encode_together(self, images: Sequence[Tensor]) -> list[Independent]:
        """See `Backend.encode_together`; as a batch, kernel by kernel."""
        return self._torch.encode_together([self._torch.from_bytes(image) for image in images])

    @torch.inference_mode()
    def prepare(self, stage: Stage, inputs: Tensors, threads: int) -> tuple[Ready, Tensors]:
        """See `GraphBackend.prepare`."""
        captured = _Captured(stage, inputs, self._device)
        expected = stage(*inputs)
        for given, wanted in zip(captured(*inputs), expected, strict=True):
            largest = wanted.abs().max()
            if not bool(((given - wanted).abs().max() <= _TOLERANCE * largest).item()):
                raise RuntimeError('a captured graph does not give what its stage gives')
        return captured, expected


class _Captured:
    """A stage as a CUDA graph, with inputs and outputs that stay where they are."""

    def __init__(self, stage: Stage, inputs: Tensors, device: torch.device) -> None:
        self._device = device
        self._inputs = [torch.zeros_like(tensor) for tensor in inputs]
        with torch.cuda.device(device):
            current = torch.cuda.current_stream()
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    stage(*self._inputs)
            current.wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # What other threads do on the GPU meanwhile is none of this graph's business.
            with torch.cuda.graph(self._graph, capture_error_mode='thread_local'):
                self._outputs = list(stage(*self._inputs))

    @torch.inference_mode()
    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        with torch.cuda.device(self._device):
            for own, given in zip(self._inputs, tensors, strict=True):
                own.copy_(given)
            self._graph.replay()
            return [output.clone() for output in self._outputs]
