"""`OnnxBackend`: what the libraries that run ONNX graphs have in common.

Shapes: H W image.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.backends.graph_backend import GraphBackend, Ready
from dcfm_ros.backends.onnx_graph import Graph, Stage, Tensors, make_graph
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.models.dcfm import DCFM

Model = Callable[[Mapping[str, NDArray[Any]]], Sequence[NDArray[Any]]]
"""A compiled graph: inputs by name, in any thread, to outputs that nobody will write to again."""


class OnnxBackend(GraphBackend):
    """Runs stages as ONNX graphs, on the CPU."""

    def __init__(self, net: DCFM, *, num_slices: int = 1, is_beside: bool = False) -> None:
        """Prepare the network; graphs are made later.

        Args:
            net: The network; left as it is.
            num_slices: See `GraphBackend`.
            is_beside: See `GraphBackend`.

        Raises:
            ValueError: If the network is not float32.
            ImportError: If ONNX is not installed.
        """
        if find_spec('onnx') is None:  # PyTorch's exporter would miss it
            raise ImportError("No module named 'onnx'")
        dtype = next(net.parameters()).dtype
        if dtype != torch.float32:
            raise ValueError(f'`net` must be float32 for backend {self.name}, got {dtype}')
        backend = TorchBackend(net, torch.device('cpu'))
        super().__init__(backend, num_slices=num_slices, is_beside=is_beside)
        self.runner = self.name

    @abstractmethod
    def compile(self, onnx: bytes, threads: int) -> Model:
        """Make a graph ready to run on so many threads."""

    def to_input(self, image: NDArray[np.uint8]) -> Tensor:
        """See `Backend.to_input`; (1, H, W, 3) uint8, of the same memory."""
        return torch.from_numpy(np.require(image, requirements='W'))[None]

    def prepare(self, stage: Stage, inputs: Tensors, threads: int) -> tuple[Ready, Tensors]:
        """See `GraphBackend.prepare`."""
        graph, outputs = make_graph(self.net, stage, inputs)
        model = self.compile(graph.onnx, threads)
        return _Compiled(graph._replace(onnx=b''), model), outputs  # the library has its own copy


@dataclass(frozen=True)
class _Compiled:
    """A stage that is ready to run."""

    graph: Graph
    model: Model

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        return self.graph.to_tensors(self.model(self.graph.to_arrays(tensors)))
