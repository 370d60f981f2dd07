"""The network in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
import os
from pathlib import Path
import sys
import tempfile
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.graph_backend import Ready, time_steps_on_cpu
from dcfm_ros.backends.onnx_graph import Graph, make_graph
from dcfm_ros.backends.stages import Stage, Tensors
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM

_CACHE_BYTES = 1 << 30
_PRECISION = 'INFERENCE_PRECISION_HINT'


class OpenVinoRunner:
    """Runs stages as ONNX graphs in OpenVINO, in half precision if the CPU has hardware for it.

    Compiled models are kept in the user's cache folder if it is writable.
    """

    name = label = 'openvino'

    def __init__(self, net: DCFM, is_exact: bool = False) -> None:
        """Find out which precision the CPU supports.

        Args:
            net: Its weights are used by the stages.
            is_exact: Compute in float32 even if the CPU has hardware for less.

        Raises:
            ImportError: If OpenVINO or ONNX is not installed.
        """
        self._net = net
        self._openvino = import_openvino()
        self._core = self._openvino.Core()
        kind = self._openvino.Type
        hint = kind.f32 if is_exact else self._core.get_property('CPU', _PRECISION)
        names = {kind.f32: 'fp32', kind.bf16: 'bf16', kind.f16: 'fp16'}
        self.precision = next((name for type_, name in names.items() if type_ == hint), str(hint))
        self._options = {
            'PERFORMANCE_HINT': 'LATENCY',
            # Pinned threads wait for their core when another process uses it.
            'ENABLE_CPU_PINNING': False,
            _PRECISION: hint,
        }
        if folder := _cache_folder():
            self._options['CACHE_DIR'] = str(folder)

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """See `Runner.to_input`; shares memory."""
        return torch.from_numpy(np.require(image, requirements='W'))[None]

    def prepare(self, stage: Stage, inputs: Tensors) -> tuple[Ready, Tensors]:
        """See `Runner.prepare`."""
        graph, outputs = make_graph(self._net, stage, inputs)
        options = {**self._options, 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
        model = self._core.compile_model(self._core.read_model(graph.onnx, b''), 'CPU', options)
        # OpenVINO has its own copy of the graph.
        return _Ready(graph._replace(onnx=b''), model, self._openvino.Tensor), outputs

    def time_steps(self, backend: TorchBackend, independent: Independent) -> Sequence[float]:
        """See `Runner.time_steps`."""
        return time_steps_on_cpu(backend, independent)


class _Ready:
    """A compiled stage with its one request."""

    def __init__(self, graph: Graph, model: Any, make_tensor: Any) -> None:
        self._graph = graph
        self._make_tensor = partial(make_tensor, shared_memory=True)
        self._request = model.create_infer_request()
        self._inputs = [value.any_name for value in model.inputs]
        self._outputs = [tuple(value.shape) for value in model.outputs]

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """Run on these tensors, into new ones, without copies."""
        arrays = self._graph.to_arrays(tensors)
        outputs = [np.empty(shape, np.float32) for shape in self._outputs]
        for index, name in enumerate(self._inputs):
            self._request.set_input_tensor(index, self._make_tensor(arrays[name]))
        for index, array in enumerate(outputs):
            self._request.set_output_tensor(index, self._make_tensor(array))
        self._request.infer()
        return self._graph.to_tensors(outputs)


def import_openvino() -> Any:
    """The module `openvino`, without its reports to Google Analytics.

    Raises:
        ImportError: If it is not installed, or ONNX, which PyTorch's exporter needs.
    """
    if find_spec('onnx') is None:
        raise ImportError("No module named 'onnx'")
    # It sends them through this package, if it can import it.
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _cache_folder() -> Path | None:
    """Folder for compiled models, the oldest removed; None if it is not writable."""
    try:
        home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
        folder = Path(home) / 'dcfm_ros' / 'openvino'
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        blobs = [(path.stat(), path) for path in folder.glob('*.blob')]
        total = 0
        for stat, path in sorted(blobs, key=lambda blob: blob[0].st_mtime, reverse=True):
            total += stat.st_size
            if total > _CACHE_BYTES:
                path.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        warnings.warn(f'OpenVINO models are compiled at every start: {error}', stacklevel=3)
        return None
    return folder
