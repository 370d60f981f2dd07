"""The network in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from dcfm_ros.backends.onnx_backend import Model, OnnxBackend
from dcfm_ros.models.dcfm import DCFM


class OnnxRuntimeBackend(OnnxBackend):
    """Runs graphs in ONNX Runtime."""

    name = 'onnxruntime'

    def __init__(self, net: DCFM, *, num_slices: int = 1, is_beside: bool = False) -> None:
        """See `OnnxBackend`.

        Raises:
            ImportError: If ONNX Runtime or ONNX is not installed.
        """
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        self._onnxruntime: Any = onnxruntime
        super().__init__(net, num_slices=num_slices, is_beside=is_beside)

    def compile(self, onnx: bytes, threads: int) -> Model:
        """See `OnnxBackend.compile`."""
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # As PyTorch's threads with OMP_WAIT_POLICY=PASSIVE: those that wait leave the core.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        session = self._onnxruntime.InferenceSession(onnx, options, ['CPUExecutionProvider'])
        names = [value.name for value in session.get_inputs()]

        def run(arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
            return session.run(None, {name: arrays[name] for name in names})

        return run
