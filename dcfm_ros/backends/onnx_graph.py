"""Stages of the network as ONNX models.

Shapes: B batch, H W image, C channels, h w grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any
import warnings

import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper

from dcfm_ros.backends.stages import Stage

OPSET = 17  # the first with layer normalisation


@torch.no_grad()  # inference mode has no shapes for the exporter
def to_onnx(
    net: nn.Module,
    stage: Stage,
    inputs: dict[str, Tensor],
    outputs: Sequence[str] = (),
    *,
    is_for_any_size: bool = False,
) -> bytes:
    """An ONNX model of a stage of `net`.

    Args:
        net: Its weights are used by the stage.
        stage: From tensors to tensors; run once.
        inputs: Examples by name.
        outputs: Names.
        is_for_any_size: Not for inputs of these shapes and with the weights, but for any rows and
            columns, axes 1 and 2, and with the weights as further inputs.
    """
    file = BytesIO()
    how: dict[str, Any] = {}
    if is_for_any_size:
        how = {
            'export_params': False,
            'do_constant_folding': False,
            'keep_initializers_as_inputs': True,
            'dynamic_axes': {name: {1: 'rows', 2: 'columns'} for name in inputs},
        }
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
            **how,
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


@contextmanager
def _products_for_pooling() -> Iterator[None]:
    """Let the exporter write adaptive pooling of any size as products with two matrices.

    By itself it supports only sizes that are known and divide the grid.
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
    rows, columns = (_averages(graph, x, axis, bins[axis - 2]) for axis in (2, 3))
    columns = graph.op('Transpose', columns, perm_i=[1, 0])
    return graph.op('MatMul', graph.op('MatMul', rows, x), columns)


def _averages(graph: Any, x: Any, axis: int, bins: int) -> Any:
    """The matrix (bins, length) of adaptive average pooling along an axis."""

    def constant(value: Any) -> Any:
        return graph.op('Constant', value_t=torch.as_tensor(value, dtype=torch.int64))

    length = graph.op('Gather', graph.op('Shape', x), constant(axis))
    last = torch.arange(1, bins + 1)[:, None]
    begin = graph.op('Div', graph.op('Mul', constant(last - 1), length), constant(bins))
    beyond = graph.op('Add', graph.op('Mul', constant(last), length), constant(bins - 1))
    end = graph.op('Div', beyond, constant(bins))
    places = graph.op('Range', constant(0), length, constant(1))
    not_before = graph.op('Not', graph.op('Less', places, begin))
    inside = graph.op('And', not_before, graph.op('Less', places, end))
    real = {'to_i': 1}  # float32
    count = graph.op('Cast', graph.op('Sub', end, begin), **real)
    return graph.op('Div', graph.op('Cast', inside, **real), count)
