"""The network in PyTorch on CUDA: every stage is a CUDA graph, launched by a single call.

A non-key frame consists of many small kernels; launching them one by one takes the CPU longer
than the GPU takes to run them. Shapes: H W image.
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

from dcfm_ros.backends.graph_backend import TIMINGS, Ready
from dcfm_ros.backends.stages import Stage, Tensors
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent

_WARM_UPS = 3
"""Runs before a capture, in which libraries choose kernels and allocate memory."""
_event: Any = partial(torch.cuda.Event, enable_timing=True)
_sleep: Any = torch.cuda._sleep
_SLEEP = 100_000_000
"""Clock cycles of the GPU, about 50 ms."""
_TOLERANCE = {torch.float32: 1e-2, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Of a graph's output, relative to the largest value: kernels add in different orders."""


class CudaGraphRunner:
    """Replays stages that were captured once per image size.

    A capture is compared with the stage itself, on other values than it was captured with; if
    they differ, or CUDA refuses, PyTorch goes on kernel by kernel.
    """

    name = 'torch'
    label = 'CUDA graphs'

    def __init__(self, backend: TorchBackend) -> None:
        """Take a stream and a memory pool on the GPU of a backend."""
        self.precision = backend.precision
        self._device = torch.device(backend.device)
        with torch.cuda.device(self._device):
            self._stream = _stream_of(self._device)
            # Graphs that are replayed one after another can share their memory.
            self._pool = torch.cuda.graph_pool_handle()

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """See `Runner.to_input`; on the GPU, through pinned memory."""
        pinned = torch.empty((1, *image.shape), dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[0] = image
        return pinned.to(self._device, non_blocking=True)

    @torch.inference_mode()
    def prepare(self, stage: Stage, inputs: Tensors) -> tuple[Ready, Tensors]:
        """See `Runner.prepare`.

        Raises:
            RuntimeError: If CUDA cannot capture the stage, or the capture computes something else.
        """
        with torch.cuda.device(self._device):
            captured = _Captured(stage, inputs, self._stream, self._pool)
        expected = stage(*inputs)
        for given, wanted in zip(captured(*inputs), expected, strict=True):
            _compare(given.float(), wanted.float(), _TOLERANCE.get(wanted.dtype, 1e-2))
        return captured, expected

    @torch.inference_mode()
    def time_steps(self, backend: TorchBackend, independent: Independent) -> Sequence[float]:
        """See `Runner.time_steps`; times of the GPU alone, as in a graph.

        Launching the steps takes the CPU longer, and about equally long for each.
        """
        runs = []
        with torch.cuda.device(self._device):
            for _ in range(TIMINGS):
                task = backend.deep_task(independent)
                events = [_event() for _ in range(len(task.steps) + 1)]
                _sleep(_SLEEP)  # until all are launched: then none waits for the CPU
                events[0].record()
                for index, event in enumerate(events[1:]):
                    task.run(index, index + 1)
                    event.record()
                torch.cuda.synchronize()
                runs.append([begin.elapsed_time(end) for begin, end in pairwise(events)])
        return [min(times) for times in zip(*runs, strict=True)]


class _Captured:
    """A stage as a CUDA graph, with inputs and outputs at fixed addresses."""

    def __init__(
        self, stage: Stage, inputs: Tensors, stream: torch.cuda.Stream, pool: Any
    ) -> None:
        self._device = stream.device
        # A graph holds only addresses: the tensors that the stage holds must stay alive.
        self._stage = stage
        # Unlike warm-up images, which are zero: the comparison must show that it reads its inputs.
        self._inputs = [torch.ones_like(tensor) for tensor in inputs]
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        # Set here, so that it is left even if the capture fails.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                stage(*self._inputs)
            self._graph = torch.cuda.CUDAGraph()
            mode = 'thread_local'  # other threads may use the GPU meanwhile
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
    """The stream for captures: only one, since cuBLAS keeps memory for each, for good."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _compare(given: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Raise RuntimeError unless two float32 tensors agree, within a share of the largest value.

    Overflow must occur in the same places.
    """
    limit = tolerance * float(wanted.nan_to_num(posinf=0.0, neginf=0.0).abs().max())
    if not torch.allclose(given, wanted, rtol=0.0, atol=limit, equal_nan=True):
        worst = float((given - wanted).nan_to_num(posinf=0.0, neginf=0.0).abs().max())
        raise RuntimeError(f'a captured stage is wrong by {worst:.3g}, allowed: {limit:.3g}')
