"""`GraphBackend`: runs stages prepared for one image size.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
import traceback
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.fallback import FallibleBackend, SizesInUse
from dcfm_ros.backends.stages import Stage, decode_stage, deep_stages, shallow_stage
from dcfm_ros.backends.tensor_backend import TensorBackend, Tensors
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent

Ready = Callable[..., list[Tensor]]
"""A prepared stage: from tensors to new tensors, which no later call overwrites."""

TIMINGS = 3
"""Runs of the deep encoder, of which the shortest duration of each step counts."""


class Runner(Protocol):
    """A library that runs prepared stages."""

    name: str
    """Of the backend: 'torch' for CUDA graphs."""
    label: str
    """Of the library, for messages."""
    precision: str
    """Number format that it computes in: 'fp32', 'bf16' or 'fp16'."""

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB (H, W, 3) uint8 -> (1, H, W, 3) uint8 on the device."""
        ...

    def prepare(self, stage: Stage, inputs: Sequence[Tensor]) -> tuple[Ready, Sequence[Tensor]]:
        """Make a stage ready to run for inputs like these.

        Returns:
            The prepared stage, and the stage's outputs for these inputs.
        """
        ...

    def time_steps(self, backend: TorchBackend, independent: Independent) -> Sequence[float]:
        """Shortest duration of each step of the deep encoder, ms, for cutting slices."""
        ...


class GraphBackend(FallibleBackend, TensorBackend):
    """Runs stages prepared for one image size, when the first image of that size arrives.

    `TorchBackend` prepares the network and stands in, also for sizes that come and go.
    """

    def __init__(
        self,
        backend: TorchBackend,
        runner: Runner,
        *,
        num_slices: int = 1,
        all_sizes: MutableMapping[Hashable, SizeGraphs] | None = None,
    ) -> None:
        """Take the network; stages are prepared later.

        Args:
            backend: Provides the stages, and stands in for them.
            runner: Runs them.
            num_slices: Stages that the deep encoder is cut into.
            all_sizes: Graphs of all cameras that share the network, by image size.
        """
        self.name, self.label, self.precision = runner.name, runner.label, runner.precision
        self.device, self.net = backend.device, backend.net
        self._torch = backend
        self._runner = runner
        self._num_slices = num_slices
        self._all_sizes = WeakValueDictionary() if all_sizes is None else all_sizes
        self._sizes = SizesInUse(self._all_sizes)

    def for_another_camera(self) -> GraphBackend:
        """See `Backend.for_another_camera`; cameras of one size share its graphs.

        Each keeps the graphs of its own sizes, however many cameras of other sizes there are, and
        falls back to PyTorch on its own.
        """
        return GraphBackend(
            self._torch, self._runner, num_slices=self._num_slices, all_sizes=self._all_sizes
        )

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """See `Backend.to_input`; (1, H, W, 3) uint8."""
        return self._runner.to_input(image)

    def encode_independent(self, image: Tensor) -> Independent:
        """See `Backend.encode_independent`."""

        def in_torch() -> Independent:
            return self._torch.encode_independent(self._torch.from_bytes(image))

        def in_graph() -> Independent:
            size = self._sizes.get(image.shape, lambda: self._make_size(image))
            if size is None:
                return in_torch()
            named = zip(size.shapes, size.shallow(image), strict=True)
            return Independent.from_names(dict(named))

        return self.run(in_graph, in_torch)

    def deep_task(self, independent: Independent) -> DeepTask:
        """See `Backend.deep_task`; a step is a graph."""
        size = self._size_with(independent)
        if size is None:
            return self._torch.deep_task(independent)
        *slices, last = (partial(self._run_slice, independent, run) for run in size.deep)
        steps: list[Callable[[Any], Any]] = [*slices, lambda state: tuple(last(state))]
        return DeepTask(steps, [*independent.by_name().values()])

    def decode(self, cached: Sequence[Tensors], independent: Independent) -> Tensor:
        """See `Backend.decode`."""

        def in_torch() -> Tensor:
            return self._torch.decode(cached, independent)

        def in_graph() -> Tensor:
            size = self._size_with(independent)
            if size is None:
                return in_torch()
            inputs = [independent.feature, *independent.skips, *chain.from_iterable(cached)]
            if len(cached) not in size.decoders:
                stage = decode_stage(self._torch, len(independent.skips), len(cached))
                ready, _ = self._runner.prepare(stage, inputs)
                size.decoders[len(cached)] = ready
            return size.decoders[len(cached)](*inputs)[0]

        return self.run(in_graph, in_torch)

    def _run_slice(
        self, independent: Independent, run: Ready, state: list[Tensor] | Tensors
    ) -> list[Tensor] | Tensors:
        """Outputs of a slice; if it fails, the common feature, a tuple, from PyTorch at once."""
        if isinstance(state, tuple):
            return state

        def in_graph() -> list[Tensor] | Tensors:
            return run(*state)

        return self.run(in_graph, lambda: self._torch.encode_common(independent))

    def give_up(self, error: Exception) -> None:
        """See `FallibleBackend.give_up`."""
        if isinstance(error, torch.OutOfMemoryError):
            # Free the memory of all graphs, also of the one in the making, for PyTorch.
            traceback.clear_frames(error.__traceback__)
        self._sizes.clear()
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()

    @property
    def in_torch(self) -> TorchBackend:
        """See `FallibleBackend.in_torch`."""
        return self._torch

    def _size_with(self, independent: Independent) -> SizeGraphs | None:
        """The graphs that fit these features, possibly of another camera."""
        if self.failure:
            return None
        shapes = _shapes(independent)
        return next((size for size in self._all_sizes.values() if size.shapes == shapes), None)

    def _make_size(self, image: Tensor) -> SizeGraphs:
        shallow, outputs = self._runner.prepare(shallow_stage(self._torch), [image])
        names = self._torch.encode_independent(self._torch.from_bytes(image)).by_name()
        independent = Independent.from_names(dict(zip(names, outputs, strict=True)))
        deep: list[Ready] = []
        inputs: Sequence[Tensor] = outputs
        time_steps = partial(self._runner.time_steps, self._torch)
        for stage in deep_stages(self._torch, independent, self._num_slices, time_steps):
            ready, inputs = self._runner.prepare(stage, inputs)
            deep.append(ready)
        return SizeGraphs(_shapes(independent), shallow, deep)


@dataclass(frozen=True, eq=False)
class SizeGraphs:
    """The prepared stages for one image size."""

    shapes: dict[str, torch.Size]
    """Of what the shallow encoder finds, by name."""
    shallow: Ready
    deep: list[Ready]
    decoders: dict[int, Ready] = field(default_factory=dict)
    """By number of common features; made on first use."""


def _shapes(independent: Independent) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in independent.by_name().items()}
