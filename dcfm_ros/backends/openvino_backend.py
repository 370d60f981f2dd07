"""`OpenVinoBackend`: a prepared network in OpenVINO, on the CPU; needs no PyTorch.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Hashable, MutableMapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.array_backend import Array, ArrayBackend, Arrays
from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.fallback import FallibleBackend, SizesInUse
from dcfm_ros.backends.openvino_models import CompiledStages, OpenVinoModels, Ready
from dcfm_ros.backends.prepared_network import PreparedNetwork

if TYPE_CHECKING:
    from dcfm_ros.backends.torch_on_arrays import TorchOnArrays


class Encoded(NamedTuple):
    """What the shallow encoder found in one frame."""

    found: dict[str, Array]
    """Arrays named as by `Independent.by_name`, (1, h, w, C)."""
    stages: CompiledStages | None = None
    """Those that fit it; None: PyTorch made it."""

    @property
    def feature(self) -> Array:
        """Raw independent feature, (1, h, w, C_f)."""
        return self.found['feature']


class OpenVinoNetwork:
    """A network in OpenVINO, for all cameras."""

    def __init__(
        self,
        net: PreparedNetwork,
        *,
        precision: str = 'auto',
        num_slices: int = 1,
        num_threads: int = 0,
        is_timed: bool = True,
    ) -> None:
        """Read it; see `OpenVinoModels` for what may be wrong.

        Args:
            net: The network.
            precision: 'auto', 'fp32' or 'int8', see `EngineOptions`.
            num_slices: Parts that the deep encoder is cut into.
            num_threads: That compute; 0: as many as OpenVINO takes by itself.
            is_timed: Whether the parts take equally long; otherwise they have equally many steps.
        """
        self._net = net
        self._models = OpenVinoModels(
            net.graphs_for(precision),
            net.weights,
            is_exact=precision == 'fp32',
            num_threads=num_threads,
        )
        self._num_slices, self._is_timed = num_slices, is_timed
        self.precision = self._models.precision
        """Number format that is computed in: 'fp32', 'bf16', 'fp16' or 'int8'."""
        self.sizes: MutableMapping[Hashable, CompiledStages] = WeakValueDictionary()
        """The stages in use, by image size."""

    def compile(self, size: tuple[int, int]) -> CompiledStages:
        """The stages for images of a size, (H, W)."""
        return self._models.compile(size, self._num_slices, is_timed=self._is_timed)

    @cached_property
    def for_any_size(self) -> CompiledStages:
        """Stages for images of any size."""
        return self._models.compile(None, self._num_slices)

    @cached_property
    def in_torch(self) -> TorchOnArrays:
        """The same network in PyTorch; raises ImportError where that is not installed."""
        from dcfm_ros.backends.torch_on_arrays import TorchOnArrays

        return TorchOnArrays(self._net.in_torch())


class OpenVinoBackend(FallibleBackend, ArrayBackend):
    """Compiles the stages of a network for an image size when its first image arrives.

    Sizes that come and go share stages for any size, which are slower. If OpenVINO fails, PyTorch
    goes on where it is installed.
    """

    name = label = 'openvino'

    def __init__(self, network: OpenVinoNetwork) -> None:
        """Take a network, which several cameras may share."""
        self.precision = network.precision
        self._network = network
        self._sizes = SizesInUse(network.sizes)

    def for_another_camera(self) -> OpenVinoBackend:
        """See `Backend.for_another_camera`; cameras of one size share its stages.

        Each keeps the stages of its own sizes, however many cameras of other sizes there are, and
        falls back to PyTorch on its own.
        """
        return OpenVinoBackend(self._network)

    def to_input(self, image: NDArray[np.uint8]) -> Array:
        """See `Backend.to_input`; (1, H, W, 3) uint8 that shares memory with the image."""
        return image[None]

    def encode_independent(self, image: Array) -> Encoded:
        """See `Backend.encode_independent`."""

        def in_openvino() -> Encoded:
            size = image.shape[1], image.shape[2]
            found = self._sizes.get(size, lambda: self._network.compile(size))
            stages = found or self._network.for_any_size
            return Encoded(stages.shallow({'image': image}), stages)

        def in_torch() -> Encoded:
            return Encoded(self.in_torch.encode_independent(image))

        return self.run(in_openvino, in_torch)

    def deep_task(self, independent: Encoded) -> DeepTask:
        """See `Backend.deep_task`."""
        stages = independent.stages
        if stages is None or self.failure:
            return self.in_torch.deep_task(independent.found)
        steps = [partial(self._run_slice, independent, run) for run in stages.deep]
        known = {'state': independent.feature, **independent.found}
        return DeepTask([*steps, _common], known)

    def decode(self, cached: Sequence[Arrays], independent: Encoded) -> Array:
        """See `Backend.decode`."""

        def in_openvino() -> Array:
            assert independent.stages is not None
            arrays = dict(independent.found)
            for number, common in enumerate(cached):
                arrays |= {f'keyframe_{number}_{i}': one for i, one in enumerate(common)}
            return independent.stages.decoders[len(cached)](arrays)['logits'][0]

        return self.run(in_openvino, lambda: self.in_torch.decode(cached, independent.found))

    def give_up(self, error: Exception) -> None:
        """See `FallibleBackend.give_up`."""
        self._sizes.clear()

    @property
    def in_torch(self) -> TorchOnArrays:
        """See `FallibleBackend.in_torch`."""
        return self._network.in_torch

    def _run_slice(self, independent: Encoded, run: Ready, known: _Known) -> _Known:
        """What is known after a slice; if it fails, the common feature from PyTorch at once."""
        if 'common_0' in known:
            return known

        def in_torch() -> _Known:
            common = self.in_torch.encode_common(independent.found)
            return {f'common_{index}': one for index, one in enumerate(common)}

        return self.run(lambda: {**known, **run(known)}, in_torch)


_Known = dict[str, Array]


def _common(known: _Known) -> Arrays:
    num_features = sum(name.startswith('common_') for name in known)
    return tuple(known[f'common_{index}'] for index in range(num_features))
