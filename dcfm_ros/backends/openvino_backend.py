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

from dcfm_ros.backends.array_backend import Array, ArrayBackend
from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.fallback import FallibleBackend, SizesInUse
from dcfm_ros.backends.openvino_models import CompiledStages, OpenVinoModels, Ready
from dcfm_ros.backends.prepared_network import PreparedNetwork

if TYPE_CHECKING:
    from dcfm_ros.backends.torch_on_arrays import TorchOnArrays


class Encoded(NamedTuple):
    """What the shallow encoder found in one frame."""

    feature: Array
    """Raw independent feature, (1, h, w, C_f)."""
    state: Array
    """What the deep encoder continues from; the same array wherever the network is a chain."""
    stages: CompiledStages | None = None
    """Those that fit it; None: PyTorch made it."""


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
            given = stages.shallow({'image': image})
            return Encoded(given['feature'], given.get('state', given['feature']), stages)

        def in_torch() -> Encoded:
            return Encoded(*self.in_torch.encode_independent(image))

        return self.run(in_openvino, in_torch)

    def deep_task(self, independent: Encoded) -> DeepTask:
        """See `Backend.deep_task`."""
        stages = independent.stages
        if stages is None or self.failure:
            return self.in_torch.deep_task(independent.feature, independent.state)
        steps = [partial(self._run_slice, independent, run) for run in stages.deep]
        return DeepTask([*steps, _common], {'state': independent.state})

    def decode(self, cached: Sequence[Array], independent: Encoded) -> Array:
        """See `Backend.decode`."""

        def in_openvino() -> Array:
            assert independent.stages is not None
            arrays = {'feature': independent.feature}
            arrays |= {f'common_{index}': common for index, common in enumerate(cached)}
            return independent.stages.decoders[len(cached)](arrays)['logits'][0]

        return self.run(in_openvino, lambda: self.in_torch.decode(cached, independent.feature))

    def give_up(self, error: Exception) -> None:
        """See `FallibleBackend.give_up`."""
        self._sizes.clear()

    @property
    def in_torch(self) -> TorchOnArrays:
        """See `FallibleBackend.in_torch`."""
        return self._network.in_torch

    def _run_slice(self, independent: Encoded, run: Ready, known: _Known) -> _Known:
        """What is known after a slice; if it fails, the common feature from PyTorch at once."""
        if 'common' in known:
            return known
        feature, state = independent.feature, independent.state
        return self.run(
            lambda: {**known, **run(known)},
            lambda: {'common': self.in_torch.encode_common(feature, state)},
        )


_Known = dict[str, Array]


def _common(known: _Known) -> Array:
    return known['common']
