"""`GraphBackend`: runs stages that are prepared for one size of image.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
import traceback
from typing import Protocol, TypeVar
import warnings
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.stages import Stage, Tensors, decode_stage, deep_stages, shallow_stage
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent

Ready = Callable[..., list[Tensor]]
"""A prepared stage: tensors to tensors that nobody will write to again."""
T = TypeVar('T')

TIMINGS = 3
"""Runs of the deep encoder, of which the least duration of a step counts."""
_MAX_SIZES = 2
_PATIENCE = 30
"""Images in a row of one more size until it gets graphs, and the oldest size loses its own."""


class Runner(Protocol):
    """A library that runs prepared stages."""

    name: str
    """Of the backend that it makes: 'openvino', or 'torch' for CUDA graphs."""
    label: str
    """The library in words."""
    precision: str
    """What it computes in: 'fp32', 'bf16' or 'fp16'."""

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """RGB (H, W, 3) uint8 -> (1, H, W, 3) uint8 where the first stage wants it."""
        ...

    def prepare(self, stage: Stage, inputs: Tensors) -> tuple[Ready, Tensors]:
        """Make a stage ready to run for inputs like these.

        Returns:
            It, and what the stage gives for these inputs.
        """
        ...

    def time_steps(self, backend: TorchBackend, independent: Independent) -> Sequence[float]:
        """Least duration of each step of the deep encoder, ms; slices are cut by them."""
        ...


class GraphBackend(Backend):
    """Runs stages that are prepared for one size of image, when its first image comes.

    `TorchBackend` prepares the network and stands in: for sizes that come and go, which are not
    worth the seconds that graphs take to make, and for good when the runner fails. It goes on
    from there, so that neither the frame is lost nor the keyframe that is under way.
    """

    def __init__(
        self,
        backend: TorchBackend,
        runner: Runner,
        *,
        num_slices: int = 1,
        all_sizes: MutableMapping[torch.Size, SizeGraphs] | None = None,
    ) -> None:
        """Take the network; stages are prepared later.

        Args:
            backend: What the stages are made of, and what stands in for them.
            runner: Runs them.
            num_slices: Stages that the deep encoder is cut into.
            all_sizes: Graphs of cameras that share this network, by image size; this one's own
                are put there, too.
        """
        self.name, self.precision = runner.name, runner.precision
        self.device, self.net = backend.device, backend.net
        self._torch = backend
        self._runner = runner
        self._num_slices = num_slices
        self._sizes: dict[torch.Size, SizeGraphs] = {}  # of this camera, the oldest first
        self._all_sizes = WeakValueDictionary() if all_sizes is None else all_sizes
        self._last_shape = torch.Size()
        self._in_a_row = 0

    def for_another_camera(self) -> GraphBackend:
        """See `Backend.for_another_camera`; cameras of one size share its graphs.

        Each keeps the graphs of its own sizes, however many cameras of other sizes there are, and
        falls back to PyTorch by itself.
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
            size = self._size_of(image)
            if size is None:
                return in_torch()
            outputs = size.shallow(image)
            return Independent(outputs[0], outputs[-1])

        return self._run(in_graph, in_torch)

    def deep_task(self, independent: Independent) -> DeepTask:
        """See `Backend.deep_task`; a step is a graph."""
        size = self._size_with(independent)
        if size is None:
            return self._torch.deep_task(independent)
        *slices, last = (partial(self._run_slice, independent, run) for run in size.deep)

        def end(state: list[Tensor] | Tensor) -> Tensor:
            given = last(state)
            return given if isinstance(given, Tensor) else given[0]

        return DeepTask([*slices, end], [independent.state])

    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """See `Backend.decode`."""

        def in_torch() -> Tensor:
            return self._torch.decode(cached, independent)

        def in_graph() -> Tensor:
            size = self._size_with(independent)
            if size is None:
                return in_torch()
            inputs = [independent.feature, *cached]
            if len(cached) not in size.decoders:
                ready, _ = self._runner.prepare(decode_stage(self._torch), inputs)
                size.decoders[len(cached)] = ready
            return size.decoders[len(cached)](*inputs)[0]

        return self._run(in_graph, in_torch)

    def _run_slice(
        self, independent: Independent, run: Ready, state: list[Tensor] | Tensor
    ) -> list[Tensor] | Tensor:
        """Outputs of a slice; or at once what the last one has to give, by PyTorch."""
        if isinstance(state, Tensor):
            return state
        inputs = state

        def in_graph() -> list[Tensor] | Tensor:
            return run(*inputs)

        return self._run(in_graph, lambda: self._torch.encode_common(independent))

    def _run(self, in_graph: Callable[[], T], in_torch: Callable[[], T]) -> T:
        if self.failure:
            return in_torch()
        try:
            return in_graph()
        except Exception as error:  # whatever a library may raise
            if isinstance(error, torch.OutOfMemoryError):
                # PyTorch goes on with what graphs have taken, the one that was being made too.
                traceback.clear_frames(error.__traceback__)
                self._sizes = {}
                torch.cuda.empty_cache()
            done = in_torch()  # raises as well where it is the frame that is bad
            *_, reason = repr(error), *filter(None, map(str.strip, str(error).splitlines()))
            self.failure = f'{self._runner.label} failed, PyTorch goes on: {reason}'
            self.name, self.precision = self._torch.name, self._torch.precision
            self._sizes = {}
            warnings.warn(self.failure, RuntimeWarning, stacklevel=2)
            return done

    def _size_of(self, image: Tensor) -> SizeGraphs | None:
        """The graphs for the size of an image, made if need be; None: not worth it by now."""
        shape = image.shape
        self._in_a_row = self._in_a_row + 1 if shape == self._last_shape else 1
        self._last_shape = shape
        if shape not in self._sizes:
            if len(self._sizes) == _MAX_SIZES:
                if self._in_a_row < _PATIENCE:
                    return None
                del self._sizes[next(iter(self._sizes))]
            size = self._all_sizes.get(shape) or self._make_size(image)
            self._sizes[shape] = self._all_sizes[shape] = size
        return self._sizes[shape]

    def _size_with(self, independent: Independent) -> SizeGraphs | None:
        """The graphs that can go on from there, be it those of another camera."""
        if self.failure:
            return None
        shapes = independent.feature.shape, independent.state.shape
        sizes = [*self._sizes.values(), *self._all_sizes.values()]
        return next((size for size in sizes if size.shapes == shapes), None)

    def _make_size(self, image: Tensor) -> SizeGraphs:
        shallow, outputs = self._runner.prepare(shallow_stage(self._torch), [image])
        independent = Independent(outputs[0], outputs[-1])
        deep: list[Ready] = []
        inputs: Tensors = [independent.state]
        time_steps = partial(self._runner.time_steps, self._torch)
        for stage in deep_stages(self._torch, independent, self._num_slices, time_steps):
            ready, inputs = self._runner.prepare(stage, inputs)
            deep.append(ready)
        shapes = independent.feature.shape, independent.state.shape
        return SizeGraphs(shapes, shallow, deep)


@dataclass(frozen=True, eq=False)
class SizeGraphs:
    """The prepared stages for one size of image."""

    shapes: tuple[torch.Size, torch.Size]
    """Of independent feature and state."""
    shallow: Ready
    deep: list[Ready]
    decoders: dict[int, Ready] = field(default_factory=dict)
    """By number of common features; made when first needed."""


def time_steps_on_cpu(backend: TorchBackend, independent: Independent) -> Sequence[float]:
    """See `Runner.time_steps`."""
    for _ in range(TIMINGS):
        task = backend.deep_task(independent)
        task.run_measured()
    return task.step_ms
