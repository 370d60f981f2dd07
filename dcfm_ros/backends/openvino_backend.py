"""The network in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import sys
import tempfile
import threading
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.backends.onnx_backend import OnnxBackend
from dcfm_ros.models.dcfm import DCFM

_CACHE_BYTES = 1 << 30
_PRECISION = 'INFERENCE_PRECISION_HINT'


class OpenVinoBackend(OnnxBackend):
    """Runs graphs in OpenVINO, in half precision where the CPU computes it in hardware.

    What was compiled is kept in the user's cache folder, where that can be written.
    """

    name = 'openvino'

    def __init__(
        self,
        net: DCFM,
        *,
        num_slices: int = 1,
        is_beside: bool = False,
        is_exact: bool = False,
    ) -> None:
        """See `OnnxBackend`.

        Args:
            net: The network; left as it is.
            num_slices: See `GraphBackend`.
            is_beside: See `GraphBackend`.
            is_exact: Compute in float32 on any CPU.

        Raises:
            ImportError: If OpenVINO or ONNX is not installed.
        """
        self._openvino = import_openvino()
        super().__init__(net, num_slices=num_slices, is_beside=is_beside)
        self._core = self._openvino.Core()
        kind = self._openvino.Type
        hint = kind.f32 if is_exact else self._core.get_property('CPU', _PRECISION)
        names = {kind.f32: 'fp32', kind.bf16: 'bf16', kind.f16: 'fp16'}
        self.precision = next((name for type_, name in names.items() if type_ == hint), str(hint))
        self._options = {
            'PERFORMANCE_HINT': 'LATENCY',
            # Threads tied to cores wait for these when something else works there.
            'ENABLE_CPU_PINNING': False,
            _PRECISION: hint,
        }
        if folder := _cache_folder():
            self._options['CACHE_DIR'] = str(folder)

    def compile(self, onnx: bytes, threads: int) -> _Model:
        """See `OnnxBackend.compile`."""
        options = {**self._options, 'INFERENCE_NUM_THREADS': threads}
        model = self._core.read_model(onnx, b'')
        return _Model(self._openvino, self._core.compile_model(model, 'CPU', options))


class _Model:
    """A compiled model with its one request."""

    def __init__(self, openvino: Any, compiled: Any) -> None:
        self._make_tensor = openvino.Tensor
        self._request = compiled.create_infer_request()
        self._inputs = [value.any_name for value in compiled.inputs]
        self._outputs = [tuple(value.shape) for value in compiled.outputs]
        self._lock = threading.Lock()

    def __call__(self, arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
        """Run on these arrays and into new ones, without copies."""
        outputs = [np.empty(shape, np.float32) for shape in self._outputs]
        with self._lock:  # a deep encoder that nobody waits for any more may still run
            for index, name in enumerate(self._inputs):
                tensor = self._make_tensor(arrays[name], shared_memory=True)
                self._request.set_input_tensor(index, tensor)
            for index, array in enumerate(outputs):
                tensor = self._make_tensor(array, shared_memory=True)
                self._request.set_output_tensor(index, tensor)
            self._request.infer()
        return outputs


def import_openvino() -> Any:
    """The module `openvino`, kept from reporting its import and more to Google Analytics."""
    # It does so through this package, if it can import it.
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _cache_folder() -> Path | None:
    """Folder for compiled models, its oldest removed; None where it cannot be written."""
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
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        warnings.warn(f'OpenVINO models are compiled at every start: {error}', stacklevel=3)
        return None
    return folder
