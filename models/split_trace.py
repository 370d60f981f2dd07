"""Tracing a decoder: a graph of its operations, each with its value for example features.

Sizes of maps stay symbolic while channel counts are numbers, so that decoders may branch on the
latter and iterate over a shape. What sees no fresh feature is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
import torch.nn.functional as F

Dim = tuple[fx.Node, int] | int
"""Axis of the value of an operation, or a number."""

TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout2d)
"""Modules that return their input in eval mode."""
ADD = {operator.add, torch.add, 'add'}
CONCAT = {torch.cat, torch.concat, torch.concatenate}

_SAME_SHAPE = (
    *TRANSPARENT, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid,
)  # fmt: skip
_SAME_SHAPE_TARGETS = {
    F.relu, F.gelu, F.silu, F.sigmoid, F.layer_norm, torch.relu, torch.sigmoid,
    'relu', 'sigmoid', 'contiguous',
}  # fmt: skip
_BROADCAST = ADD | {operator.mul, operator.sub, torch.mul, 'mul'}
_OF_ANY_CONTENT = {'dtype', 'device'}
"""Attributes of a tensor that do not depend on what is in it."""


def module_of(node: fx.Node, root: nn.Module) -> nn.Module | None:
    """The module that the node calls, if it calls one."""
    return root.get_submodule(str(node.target)) if node.op == 'call_module' else None


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    """An argument of the call, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def works_in_place(node: fx.Node, root: nn.Module) -> bool:
    """Whether the operation writes to its input."""
    if node.op == 'call_method':
        return str(node.target).endswith('_') and not str(node.target).endswith('__')
    return bool(node.kwargs.get('inplace') or getattr(module_of(node, root), 'inplace', False))


def value_of(node: fx.Node) -> Any:
    """What the node gives for the example features."""
    return node.meta['value']


def canonical(dim: Any, root: nn.Module) -> Any:
    """Where a size comes from: axis i of x, followed back through what keeps that axis.

    Args:
        dim: `(node, axis)`, a node that asks for a size, or what is no size, which is returned.
        root: Of the graph.
    """
    while True:
        if isinstance(dim, fx.Node) and dim.target == 'size' and len(dim.args) == 2:
            dim = dim.args  # as the tracer writes it
        if not isinstance(dim, tuple):
            return dim
        before = _one_back(dim[0], dim[1], root)
        if before is None:
            return dim
        dim = before


def _one_back(node: fx.Node, axis: int, root: nn.Module) -> Any:
    """The axis of an input that `axis` of the node always equals; None where there is none."""
    if node.op == 'placeholder' and axis == 0:  # all features are of the same images
        first = next(iter(node.graph.nodes))
        return (first, axis) if first is not node else None
    source = node.args[0] if node.args else None
    module, target = module_of(node, root), node.target
    if target in CONCAT and isinstance(source, (list, tuple)):
        return (source[0], axis) if concat_axis(node) != axis else None
    if target in _BROADCAST:
        shape = value_of(node).shape
        inputs = node.all_input_nodes
        same = [x for x in inputs if getattr(value_of(x), 'shape', None) == shape]
        return (same[0], axis) if same else None
    if not isinstance(source, fx.Node) or not isinstance(value_of(source), Tensor):
        return None
    if isinstance(module, _SAME_SHAPE) or target in _SAME_SHAPE_TARGETS:
        return source, axis
    if target in ('permute', torch.permute) and not node.kwargs:
        order = node.args[1] if isinstance(node.args[1], (list, tuple)) else node.args[1:]
        return source, int(order[axis]) % len(order)  # type: ignore[arg-type]
    if target == 'new_empty' and isinstance(node.args[1], (list, tuple)):
        return node.args[1][axis]
    if isinstance(module, nn.Conv2d):
        return (source, axis) if axis == 0 or (axis > 1 and _keeps_size(module)) else None
    if target is F.interpolate:
        size = argument(node, 1, 'size')
        if axis > 1 and isinstance(size, (list, tuple)):
            return size[axis - 2]
        return (source, axis) if axis < 2 else None
    return None


def concat_axis(node: fx.Node) -> Any:
    """Along which axis a concatenation is, from 0."""
    axis = argument(node, 1, 'dim', 0)
    return axis % value_of(node).ndim if isinstance(axis, int) else axis


def _keeps_size(conv: nn.Conv2d) -> bool:
    if isinstance(conv.padding, str):
        return conv.padding == 'same'
    sides = zip(conv.kernel_size, conv.padding, conv.dilation, conv.stride, strict=True)
    return all(s == 1 and 2 * p == d * (k - 1) for k, p, d, s in sides)


class _Proxy(fx.Proxy):
    """Stands for a value while a decoder runs; knows the value for the example features."""

    tracer: Tracer

    def __getattr__(self, name: str) -> Any:
        value = self.node.meta.get('value')
        if isinstance(value, Tensor) and name == 'shape':
            return self.tracer.shape(self.node)
        if isinstance(value, Tensor) and name == 'ndim':
            return value.ndim
        return super().__getattr__(name)


class Tracer(fx.Tracer):
    """Traces `root(*features)`, of which the first `num_fresh` change with every frame.

    Each node of the graph has `meta['value']`, for these features, which may be written to.
    """

    def __init__(self, features: Sequence[Tensor], num_fresh: int) -> None:
        super().__init__()
        self.features = features
        self.num_fresh = num_fresh
        self.sizes: dict[Dim, Any] = {}
        self.evaluating = False

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """One placeholder per feature; the base class knows no variable number of them."""
        names = [f'feature_{i}' for i in range(len(self.features))]
        return root_fn, [self.root, *(self.create_proxy('placeholder', x, (), {}) for x in names)]

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        """Look into the module only if it sees a fresh feature."""
        if self.evaluating:
            return forward(*args, **kwargs)
        nodes: list[fx.Node] = []
        fx.node.map_aggregate(
            (args, kwargs), lambda x: nodes.append(x.node) if isinstance(x, fx.Proxy) else None
        )
        if not any(node.meta['fresh'] for node in nodes):
            return self.create_proxy('call_module', self.path_of_module(m), args, kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """As the base class, but a module that runs on example values gets its own."""
        return (
            attr_val if self.evaluating else super().getattr(attr, attr_val, parameter_proxy_cache)
        )

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **named: Any
    ) -> Any:
        """As the base class, but work out the value, and give shapes as tuples."""
        if kind == 'call_method' and target in ('size', 'dim') and isinstance(args[0], fx.Proxy):
            node = args[0].node
            if isinstance(node.meta.get('value'), Tensor):
                axis = [*args[1:], *kwargs.values()]
                shape = self.shape(node)
                return len(shape) if target == 'dim' else shape[axis[0]] if axis else shape
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **named)
        self._note(proxy.node)
        return proxy

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The stand-in for the node's value."""
        return _Proxy(node, self)

    def shape(self, node: fx.Node) -> tuple[Any, ...]:
        """Shape of the node's value: numbers where they are the same for every image."""
        return tuple(self._size(node, axis) for axis in range(value_of(node).ndim))

    def _size(self, node: fx.Node, axis: int) -> Any:
        dim = canonical((node, axis), self.root)
        if not isinstance(dim, tuple):
            return self.proxy(dim) if isinstance(dim, fx.Node) else dim
        node, axis = dim
        module = module_of(node, self.root)
        shape = value_of(node).shape
        known = node.op == 'placeholder' or isinstance(module, nn.Conv2d)
        if axis == 1 and len(shape) == 4 and known:
            return shape[1]
        if dim not in self.sizes:
            size = super().create_proxy('call_method', 'size', (self.proxy(node), axis), {})
            self._note(size.node)
            self.sizes[dim] = size
        return self.sizes[dim]

    def _note(self, node: fx.Node) -> None:
        """Give the node its value, and whether that depends on what is in a fresh feature."""
        if node.op == 'placeholder':
            index = int(str(node.target).rpartition('_')[2])
            node.meta.update(value=self.features[index], fresh=index < self.num_fresh)
            return
        for used in node.all_input_nodes:
            if 'value' not in used.meta:  # a weight that was passed as it is
                self._note(used)
        self.evaluating = True
        try:
            with torch.no_grad():
                value = self._evaluate(node)
        finally:
            self.evaluating = False
        fresh = any(used.meta['fresh'] for used in node.all_input_nodes)
        node.meta.update(value=value, fresh=fresh and not is_content_free(node))

    def _evaluate(self, node: fx.Node) -> Any:
        given, kwargs = fx.node.map_arg((node.args, node.kwargs), value_of)
        args: list[Any] = [list(x) if isinstance(x, list) else x for x in given]  # to write to
        target: Any = node.target
        if node.op == 'get_attr':
            return operator.attrgetter(target)(self.root)
        if node.op == 'call_function':
            return target(*args, **kwargs)
        if node.op == 'call_method':
            return getattr(args[0], target)(*args[1:], **kwargs)
        return self.root.get_submodule(target).forward(*args, **kwargs)


def is_content_free(node: fx.Node) -> bool:
    """Whether the node reads no more than the shape or the type of a tensor."""
    return node.target == 'size' or (node.target is getattr and node.args[1] in _OF_ANY_CONTENT)
