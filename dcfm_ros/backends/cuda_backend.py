"""The network in PyTorch on CUDA: every stage a CUDA graph, which one call of the CPU starts.

A non-key frame is many small kernels, and starting them one by one takes the CPU longer than the
GPU needs for them. Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.graph_backend import TIMINGS, GraphBackend, Ready
from dcfm_ros.backends.stages import Stage, Tensors
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent

_WARM_UPS = 3
"""Runs before a capture: libraries choose their kernels and take their memory in them."""
_event: Any = partial(torch.cuda.Event, enable_timing=True)
_sleep: Any = torch.cuda._sleep
_SLEEP = 100_000_000
"""Clock cycles of the GPU, some 50 ms."""
_TOLERANCE = {torch.float32: 1e-2, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Of what a graph gives, as a share of the largest value: another kernel adds in another order."""


def cuda_backend(backend: TorchBackend, *, num_slices: int = 1) -> GraphBackend:
    """A network on the GPU, by CUDA graphs.

    Args:
        backend: On the GPU.
        num_slices: See `GraphBackend`.
    """
    return GraphBackend(backend, CudaGraphRunner(backend), num_slices=num_slices)


class CudaGraphRunner:
    """Replays stages that were captured once for a size of image.

    A capture is compared with the stage itself, for other values than it was captured with; where
    they differ, or CUDA refuses, PyTorch goes on kernel by kernel.
    """

    name = 'torch'
    label = 'CUDA graphs'

    def __init__(self, backend: TorchBackend) -> None:
        """Take stream and memory on the GPU of a backend."""
        self.precision = backend.precision
        self._device = backend.device
        with torch.cuda.device(self._device):
            self._stream = _stream_of(self._device)
            # Graphs that are replayed one after another can share what they compute in.
            self._pool = torch.cuda.graph_pool_handle()

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """See `Runner.to_input`; on the GPU, by way of pinned memory."""
        pinned = torch.empty((1, *image.shape), dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[0] = image
        return pinned.to(self._device, non_blocking=True)

    @torch.inference_mode()
    def prepare(self, stage: Stage, inputs: Tensors) -> tuple[Ready, Tensors]:
        """See `Runner.prepare`.

        Raises:
            RuntimeError: If CUDA cannot capture the stage, or the capture gives something else.
        """
        with torch.cuda.device(self._device):
            captured = _Captured(stage, inputs, self._stream, self._pool)
        expected = stage(*inputs)
        for given, wanted in zip(captured(*inputs), expected, strict=True):
            _compare(given.float(), wanted.float(), _TOLERANCE.get(wanted.dtype, 1e-2))
        return captured, expected

    @torch.inference_mode()
    def time_steps(self, backend: TorchBackend, independent: Independent) -> Sequence[float]:
        """See `Runner.time_steps`; what the GPU takes, as in a graph.

        Starting the steps takes the CPU longer, and about as long for each of them.
        """
        runs = []
        with torch.cuda.device(self._device):
            for _ in range(TIMINGS):
                task = backend.deep_task(independent)
                events = [_event() for _ in range(len(task.steps) + 1)]
                _sleep(_SLEEP)  # until all are started: then none waits for the CPU
                events[0].record()
                for index, event in enumerate(events[1:]):
                    task.run(index, index + 1)
                    event.record()
                torch.cuda.synchronize()
                runs.append([begin.elapsed_time(end) for begin, end in pairwise(events)])
        return [min(times) for times in zip(*runs, strict=True)]


class _Captured:
    """A stage as a CUDA graph, with inputs and outputs that stay where they are."""

    def __init__(
        self,
        stage: Stage,
        inputs: Tensors,
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self._device = stream.device
        # A graph knows its tensors by their addresses only: those that the stage holds must live.
        self._stage = stage
        # Not as warm-up images are, which are zero: those shall tell whether it reads its inputs.
        self._inputs = [torch.ones_like(tensor) for tensor in inputs]
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        # Set out here, so that it is left also where the capture fails.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                stage(*self._inputs)
            self._graph = torch.cuda.CUDAGraph()
            # What other threads do on the GPU meanwhile is none of this graph's business.
            mode = 'thread_local'
            with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode=mode):
                self._outputs = list(stage(*self._inputs))
        current.wait_stream(stream)

    @torch.inference_mode()
    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        with torch.cuda.device(self._device):
            for own, given in zip(self._inputs, tensors, strict=True):
                own.copy_(given)
            self._graph.replay()
            return [output.clone() for output in self._outputs]


@cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """The stream that graphs are captured in: each has memory of its own in cuBLAS, for good."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _compare(given: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Raise RuntimeError unless two float32 tensors are equal, but for this share of the largest.

    What overflowed has overflowed in both.
    """
    limit = tolerance * float(wanted.nan_to_num().abs().max())
    if not torch.allclose(given, wanted, rtol=0.0, atol=limit, equal_nan=True):
        worst = float((given - wanted).nan_to_num().abs().max())
        raise RuntimeError(f'a captured stage is wrong by {worst:.3g}, allowed: {limit:.3g}')
