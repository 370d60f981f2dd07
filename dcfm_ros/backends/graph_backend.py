"""`GraphBackend`: what runs stages that are prepared for one size of image.

Shapes: H W image.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, MutableMapping, Sequence
import copy
from dataclasses import dataclass
from functools import partial
import traceback
from typing import TypeVar
import warnings
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from dcfm_ros.backends.interface import Backend
from dcfm_ros.backends.onnx_graph import Stage, Tensors, decode_stage, deep_stages, shallow_stage
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.keyframes.execution import DeepTask
from dcfm_ros.models.backbone import Independent

Ready = Callable[..., list[Tensor]]
"""A prepared stage: tensors, in any thread, to tensors that nobody will write to again."""
T = TypeVar('T')

TIMINGS = 3
"""Runs of the deep encoder, of which the least duration of a step counts."""
_MAX_SIZES = 2
_PATIENCE = 30
"""Images in a row of one more size until it gets graphs, and the oldest size loses its own."""


class GraphBackend(Backend):
    """Runs stages that are prepared for one size of image, when its first image comes.

    `TorchBackend` prepares the network and stands in: for sizes that come and go, which are not
    worth the seconds that graphs take to make, and for good when their runner fails. It goes on
    from there, so that neither the frame is lost nor the keyframe that is under way.
    """

    runner: str
    """What runs the stages, in words."""

    def __init__(
        self, backend: TorchBackend, *, num_slices: int = 1, is_beside: bool = False
    ) -> None:
        """Take the network; stages are prepared later.

        Args:
            backend: What the stages are made of, and goes on without them.
            num_slices: Stages that the deep encoder is cut into.
            is_beside: The deep encoder runs beside the frames. It gets half of the threads, since
                a library's do not have the low priority of the thread that calls it.
        """
        self._torch = backend
        self.net = backend.net
        self._num_slices = num_slices
        self._is_beside = is_beside
        self._sizes: dict[torch.Size, _Size] = {}  # of this camera, the oldest first
        self._all_sizes: MutableMapping[torch.Size, _Size] = WeakValueDictionary()
        self._last_shape = torch.Size()
        self._in_a_row = 0

    def for_another_camera(self) -> GraphBackend:
        """See `Backend.for_another_camera`; cameras of one size share its graphs.

        Each keeps the graphs of its own sizes, however many cameras of other sizes there are, and
        falls back to PyTorch by itself.
        """
        other = copy.copy(self)
        other._sizes, other._last_shape, other._in_a_row = {}, torch.Size(), 0
        return other

    @abstractmethod
    def prepare(self, stage: Stage, inputs: Tensors, threads: int) -> tuple[Ready, Tensors]:
        """Make a stage ready to run on so many threads, for inputs like these.

        Returns:
            It, and what the stage gives for these inputs.
        """

    def time_steps(self, independent: Independent) -> Sequence[float]:
        """Least duration of each step of the deep encoder, ms; slices are cut by them."""
        for _ in range(TIMINGS):
            task = self._torch.deep_task(independent)
            task.run_measured()
        return task.step_ms

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

    def decode(
        self, cached: Sequence[Tensor], independent: Independent, *, is_keyframe: bool
    ) -> Tensor:
        """See `Backend.decode`."""

        def in_torch() -> Tensor:
            return self._torch.decode(cached, independent, is_keyframe=is_keyframe)

        def in_graph() -> Tensor:
            size = self._size_with(independent)
            if size is None:
                return in_torch()
            inputs = [independent.feature, *cached]
            kind = len(cached), is_keyframe and self._torch.is_plain
            if kind not in size.decoders:
                stage = decode_stage(self._torch, is_keyframe=is_keyframe)
                ready, _ = self.prepare(stage, inputs, torch.get_num_threads())
                size.decoders[kind] = ready
            return size.decoders[kind](*inputs)[0]

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
            self.failure = f'{self.runner} failed, PyTorch goes on: {reason}'
            self.name, self.precision = self._torch.name, self._torch.precision
            self._sizes = {}
            warnings.warn(self.failure, RuntimeWarning, stacklevel=2)
            return done

    def _size_of(self, image: Tensor) -> _Size | None:
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

    def _size_with(self, independent: Independent) -> _Size | None:
        """The graphs that can go on from there, be it those of another camera."""
        if self.failure:
            return None
        shapes = independent.feature.shape, independent.state.shape
        sizes = [*self._sizes.values(), *self._all_sizes.values()]
        return next((size for size in sizes if size.shapes == shapes), None)

    def _make_size(self, image: Tensor) -> _Size:
        threads = torch.get_num_threads()
        deep_threads = max(1, threads // 2) if self._is_beside else threads
        shallow, outputs = self.prepare(shallow_stage(self._torch), [image], threads)
        independent = Independent(outputs[0], outputs[-1])
        deep: list[Ready] = []
        inputs: Tensors = [independent.state]
        for stage in deep_stages(self._torch, independent, self._num_slices, self.time_steps):
            ready, inputs = self.prepare(stage, inputs, deep_threads)
            deep.append(ready)
        shapes = independent.feature.shape, independent.state.shape
        return _Size(shapes, shallow, deep, {})


@dataclass(frozen=True, eq=False)
class _Size:
    """The stages for one size of image."""

    shapes: tuple[torch.Size, torch.Size]
    """Of independent feature and state."""
    shallow: Ready
    deep: list[Ready]
    decoders: dict[tuple[int, bool], Ready]
    """By number of common features and, for a network with ablation switches off, `is_keyframe`;
    made when first needed."""
