"""`OpenVinoModels`: the stages of a network, compiled for an image size or for any.

Shapes: H W image. Arrays are as `Graphs` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.deep_task import slice_ends
from dcfm_ros.backends.graphs import WEIGHT, Graphs, GraphsError, Model

Array = NDArray[Any]
Ready = Callable[[Mapping[str, Array]], dict[str, Array]]
"""A compiled model: from arrays by name to new arrays by name, which no later call overwrites."""
_PRECISION = 'INFERENCE_PRECISION_HINT'
_ANY_SIZE = {'CPU_RUNTIME_CACHE_CAPACITY': 100}
"""Of what a model for any size keeps of each size that it has seen; else 5,000, up to 1 GB."""
_TIMINGS = 3
"""Runs of each step, of which the shortest counts."""


def import_openvino() -> Any:
    """The module `openvino`, without its reports to Google Analytics.

    Raises:
        ImportError: If it is not installed.
    """
    # It sends them through this package, if it can import it.
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
    import openvino

    return openvino


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledStages:
    """The stages for one image size, or for any."""

    shallow: Ready
    deep: Sequence[Ready]
    """In order; each takes what the ones before it have given, by name."""
    decoders: Mapping[int, Ready]
    """By number of common features."""


class OpenVinoModels:
    """Reads the stages of a network once, and compiles them for image sizes.

    In half precision if the CPU has hardware for it and nothing else is asked for; but what graphs
    in int8 leave in float32 stays there.
    """

    def __init__(
        self,
        graphs: Graphs,
        weights: Mapping[str, Array],
        *,
        is_exact: bool = False,
        num_threads: int = 0,
    ) -> None:
        """Read the models and put the weights in.

        Args:
            graphs: The stages.
            weights: By their names in a checkpoint, and `mean` and `std`.
            is_exact: Compute in float32 even if the CPU has hardware for less.
            num_threads: That compute; 0: as many as OpenVINO takes by itself.

        Raises:
            ImportError: If OpenVINO is not installed.
            GraphsError: If OpenVINO cannot read a model, or weights are missing.
        """
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        kind = self._openvino.Type
        is_int8 = graphs.precision == 'int8'
        hint = kind.f32 if is_exact or is_int8 else self._core.get_property('CPU', _PRECISION)
        names = {kind.f32: 'fp32', kind.bf16: 'bf16', kind.f16: 'fp16'}
        computed = next((name for type_, name in names.items() if type_ == hint), str(hint))
        self.precision = 'int8' if is_int8 else computed
        """Number format that is computed in: 'fp32', 'bf16', 'fp16' or 'int8'."""
        self._options = {
            'PERFORMANCE_HINT': 'LATENCY',
            # Pinned threads wait for their core when another process uses it.
            'ENABLE_CPU_PINNING': False,
            _PRECISION: hint,
            **({'INFERENCE_NUM_THREADS': num_threads} if num_threads else {}),
        }
        self._steps = graphs.steps
        constants = {
            name: self._openvino.opset13.constant(_as_float(array))
            for name, array in weights.items()
        }
        self.shallow = self._read(graphs.shallow, constants)
        self.deep = self._read(graphs.deep, constants)
        """`openvino.Model`s for images of any size."""
        self._decoders = {n: self._read(m, constants) for n, m in graphs.decoders.items()}

    def compile(
        self, size: tuple[int, int] | None, num_slices: int = 1, *, is_timed: bool = True
    ) -> CompiledStages:
        """Compile all stages.

        Args:
            size: (H, W) of the images; None: for any, which computes more slowly.
            num_slices: Parts that `deep` is cut into; fewer if it has fewer steps.
            is_timed: Whether the parts take equally long, by the steps' times for this size;
                otherwise they have equally many steps.
        """
        grids: dict[str, Any] = {}
        if size:
            grids = {'image': self._openvino.PartialShape([1, *size, 3])}
        shallow = self._of_size(self.shallow, grids)
        grids |= _shapes(shallow)
        grids.setdefault('state', grids['feature'])
        deep = self._of_size(self.deep, grids)
        for name, shape in _shapes(deep).items():
            if name.startswith('common_'):
                grids |= {name.replace('common', f'keyframe_{i}'): shape for i in range(2)}
        costs = [1.0] * len(self._steps)
        if num_slices > 1 and is_timed and size:
            costs = self._time_steps(deep)
        ends = sorted(set(slice_ends(tuple(costs), num_slices)))
        parts = [self._part(deep, *cut) for cut in pairwise([0, *ends])]
        return CompiledStages(
            shallow=self._compile(shallow, tuple(_shapes(shallow))),
            deep=[self._compile(part, names) for part, names in parts],
            decoders={
                count: self._compile(self._of_size(model, grids), ('logits',))
                for count, model in self._decoders.items()
            },
        )

    def _read(self, model: Model, constants: Mapping[str, Any]) -> Any:
        try:
            read = self._core.read_model(model.structure, model.weights)
        except RuntimeError as error:
            raise GraphsError(f'OpenVINO cannot read a model: {error}') from None
        for parameter in list(read.get_parameters()):
            name = parameter.get_friendly_name()
            if not name.startswith(WEIGHT):
                continue
            constant = self._as(parameter, constants[name.removeprefix(WEIGHT)])
            parameter.output(0).replace(constant.output(0))
            read.remove_parameter(parameter)
        read.validate_nodes_and_infer_types()
        return read

    def _as(self, parameter: Any, constant: Any) -> Any:
        """A constant in the type that a parameter has."""
        wanted = parameter.get_element_type()
        if constant.get_element_type() == wanted:
            return constant
        return self._openvino.opset13.constant(constant.data.astype(wanted.to_dtype()))

    def _of_size(self, model: Any, shapes: Mapping[str, Any]) -> Any:
        """A copy of a model for inputs of these shapes."""
        copy = model.clone()
        given = {v: shapes[v.any_name] for v in copy.inputs if v.any_name in shapes}
        if given:
            copy.reshape(given)
        return copy

    def _part(self, deep: Any, begin: int, end: int) -> tuple[Any, tuple[str, ...]]:
        """Some steps of the deep encoder as a model, and the names of what it gives."""
        model = deep.clone()
        ports = {value.any_name: value.node.input_value(0) for value in model.outputs}
        parameters = list(model.get_parameters())
        held = self._steps[begin - 1] if begin else ()
        for name in held:
            port = ports[name]
            parameter = self._openvino.opset13.parameter(
                port.get_partial_shape(), port.get_element_type(), name
            )
            parameter.output(0).set_names({name})
            for target in port.get_target_inputs():
                target.replace_source_output(parameter.output(0))
            parameters.append(parameter)
        wanted = tuple(name for name in self._steps[end - 1] if name not in held)
        return self._openvino.Model([ports[name] for name in wanted], parameters), wanted

    def _time_steps(self, deep: Any) -> list[float]:
        """Shortest duration of each step in ms."""
        known: dict[str, Array] = {
            given.any_name: np.zeros(given.get_shape(), np.float32) for given in deep.inputs
        }
        costs = []
        for step in range(len(self._steps)):
            run, times = self._compile(*self._part(deep, step, step + 1)), []
            for _ in range(_TIMINGS):
                begin = time.perf_counter()
                given = run(known)
                times.append((time.perf_counter() - begin) * 1e3)
            known |= given
            costs.append(min(times))
        return costs

    def _compile(self, model: Any, outputs: tuple[str, ...]) -> Ready:
        options = self._options | (_ANY_SIZE if model.is_dynamic() else {})
        compiled = self._core.compile_model(model, 'CPU', options)
        return _Compiled(compiled, outputs, self._openvino.Tensor)


class _Compiled:
    """A compiled model with its one request."""

    def __init__(self, model: Any, outputs: tuple[str, ...], make_tensor: Any) -> None:
        self._request = model.create_infer_request()
        self._make_tensor = make_tensor
        self._inputs = [value.any_name for value in model.inputs]
        shapes = [value.get_partial_shape() for value in model.outputs]
        self._outputs = outputs
        self._shapes = [tuple(shape.to_shape()) if shape.is_static else None for shape in shapes]

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run; where the sizes are known without copies."""
        for index, name in enumerate(self._inputs):
            array = np.require(arrays[name], requirements=['C', 'W'])  # what OpenVINO shares
            self._request.set_input_tensor(index, self._make_tensor(array, shared_memory=True))
        given = {}
        for index, (name, shape) in enumerate(zip(self._outputs, self._shapes, strict=True)):
            if shape is not None:
                given[name] = np.empty(shape, np.float32)
                tensor = self._make_tensor(given[name], shared_memory=True)
                self._request.set_output_tensor(index, tensor)
        self._request.infer()
        for index, name in enumerate(self._outputs):
            if name not in given:
                given[name] = self._request.get_output_tensor(index).data.copy()
        return given


def _shapes(model: Any) -> dict[str, Any]:
    """Shapes of the outputs by name."""
    return {output.any_name: output.get_partial_shape() for output in model.outputs}


def _as_float(array: Array) -> Array:
    """Half precision is how weights are stored, not how they are computed with."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
