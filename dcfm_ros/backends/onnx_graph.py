"""Stages of the network as ONNX graphs of fixed shapes.

Shapes: B batch, H W image, C channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple
import warnings

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper

from dcfm_ros.backends.stages import Stage, Tensors

OPSET = 17  # the first with layer normalisation


class Graph(NamedTuple):
    """A stage as a model whose arrays are its tensors in memory order: none is rearranged.

    A convolution's output is (B, C, h, w) stored channels last, so its array is (B, h, w, C).
    """

    onnx: bytes
    """The model. Its inputs are input_0, input_1, ...; an unused one may be absent."""
    inputs_last: tuple[bool, ...]
    """Which of the stage's inputs are stored channels last."""
    outputs_last: tuple[bool, ...]
    """Which of its outputs are."""

    def to_arrays(self, tensors: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
        """The model's inputs by name; not copied if stored like the example."""
        arrays = map(_in_memory_order, tensors, self.inputs_last)
        return {f'input_{i}': array.contiguous().numpy() for i, array in enumerate(arrays)}

    def to_tensors(self, arrays: Sequence[NDArray[Any]]) -> list[Tensor]:
        """The stage's outputs from the model's; nothing is copied."""
        return list(map(_from_memory_order, map(torch.from_numpy, arrays), self.outputs_last))


def make_graph(net: nn.Module, stage: Stage, inputs: Sequence[Tensor]) -> tuple[Graph, Tensors]:
    """Trace a stage of `net` for inputs of this size and memory format.

    Returns:
        The graph, and the stage's outputs for these inputs.
    """
    inputs_last = tuple(map(_is_last, inputs))
    given: list[Tensor] = []

    def run(*arrays: Tensor) -> list[Tensor]:
        given[:] = stage(*map(_from_memory_order, arrays, inputs_last))
        return [_in_memory_order(x, _is_last(x)) for x in given]

    arrays = map(_in_memory_order, inputs, inputs_last)
    onnx = to_onnx(net, run, {f'input_{i}': array for i, array in enumerate(arrays)})
    return Graph(onnx, inputs_last, tuple(map(_is_last, given))), given


@torch.inference_mode()
def to_onnx(
    net: nn.Module, stage: Stage, inputs: dict[str, Tensor], outputs: Sequence[str] = ()
) -> bytes:
    """An ONNX model of a stage of `net`, weights included, for inputs of these shapes.

    Args:
        net: Its weights are used by the stage.
        stage: From tensors to tensors; run once.
        inputs: Examples by name.
        outputs: Names.
    """
    file = BytesIO()
    with _products_for_pooling(), warnings.catch_warnings():
        # Shapes are meant to become constants. And PyTorch calls this exporter outdated, but the
        # new one needs another package, and minutes for a large network.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            _Traceable(net, stage).eval(),
            tuple(x.contiguous() for x in inputs.values()),
            file,  # type: ignore[arg-type]  # typed for paths only
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


class _Traceable(nn.Module):
    """A stage as a module that holds the weights, so that the exporter stores each only once."""

    def __init__(self, net: nn.Module, stage: Stage) -> None:
        super().__init__()
        self.net = net
        self.stage = stage

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.stage(*inputs))


def _is_last(tensor: Tensor) -> bool:
    """Whether a tensor (B, C, h, w) is stored as (B, h, w, C)."""
    if tensor.dim() != 4 or tensor.is_contiguous():
        return False
    return tensor.is_contiguous(memory_format=torch.channels_last)


def _in_memory_order(tensor: Tensor, is_last: bool) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if is_last else tensor


def _from_memory_order(tensor: Tensor, is_last: bool) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if is_last else tensor


@contextmanager
def _products_for_pooling() -> Iterator[None]:
    """Let the exporter write adaptive pooling of any size as two products with constant matrices.

    By itself it supports only sizes that divide the grid.
    """
    name = 'aten::adaptive_avg_pool2d'
    exporter: Any = torch.onnx
    exporter.register_custom_op_symbolic(name, _pooling_as_products, OPSET)
    try:
        yield
    finally:
        exporter.unregister_custom_op_symbolic(name, OPSET)


@symbolic_helper.parse_args('v', 'is')
def _pooling_as_products(graph: Any, x: Any, bins: list[int]) -> Any:
    height, width = x.type().sizes()[-2:]
    rows = graph.op('Constant', value_t=_averages(height, bins[0]))
    columns = graph.op('Constant', value_t=_averages(width, bins[1]).T.contiguous())
    return graph.op('MatMul', graph.op('MatMul', rows, x), columns)


def _averages(length: int, bins: int) -> Tensor:
    """The matrix (bins, length) of adaptive average pooling."""
    matrix = np.zeros((bins, length), np.float32)
    for row in range(bins):
        begin, end = row * length // bins, -(-(row + 1) * length // bins)
        matrix[row, begin:end] = 1 / (end - begin)
    return torch.from_numpy(matrix)
