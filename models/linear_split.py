"""`LinearSplit`: the graph of a decoder as two graphs, for keyframes and for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import operator
from typing import Any, cast

import torch
from torch import fx, nn
import torch.nn.functional as F

from dcfm_ros.models.split_graphs import (
    SplitGraphs,
    Value,
    added,
    conv,
    copied,
    is_free,
    is_size,
    is_tensor,
    shape,
)

_ADDS = (operator.add, operator.iadd, torch.add, 'add', 'add_')
_IN_PLACE = {operator.iadd: operator.add, operator.imul: operator.mul, 'add_': 'add'}
_IDENTITIES = (nn.Identity, nn.Dropout, nn.Dropout2d)
_RESIZERS = (nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d)


class LinearSplit(SplitGraphs):
    """Walks through the graph of a decoder once, see `SplitDecoder`."""

    def __init__(self, traced: fx.GraphModule, num_fresh: int) -> None:
        """Take a traced decoder, see `SplitGraphs`."""
        super().__init__(traced, num_fresh)
        for node in traced.graph.nodes:
            if node.op == 'output':
                (result,) = node.args[0] if isinstance(node.args[0], list) else node.args
                self.finish(result)
            elif node.op != 'placeholder':
                self.values[node] = self._value(node)

    # What an operation gives.

    def _value(self, node: fx.Node) -> Value:
        inputs = [self.values[other] for other in node.all_input_nodes]
        if not is_tensor(node) or all(v.is_deep or is_size(v) for v in inputs):
            return self._on_keyframe(node)
        if all(
            (value.own is not None and value.key is None) or is_free(value) for value in inputs
        ):
            if self.is_module(node, nn.Conv2d) and self.is_lateral(node):
                return self.lateral(node, inputs[0])
            return self._on_frame(node)
        return self._linear(node) or self._on_frame(node)

    def _on_keyframe(self, node: fx.Node) -> Value:
        """An operation on deep features or sizes; on the frame if a size is known only there."""
        arguments: dict[fx.Node, fx.Node] = {}
        for other in node.all_input_nodes:
            given = self.values[other].key or (None if is_tensor(node) else self.sizes.get(other))
            if given is None:
                return self._on_frame(node)
            arguments[other] = given
        copy = self.keyframe.node_copy(node, lambda other: arguments[other])
        is_constant = all(self.values[other].is_constant for other in arguments)
        return Value(node, key=copy, is_constant=is_constant)

    def _on_frame(self, node: fx.Node) -> Value:
        """The operation as it is, on whole tensors."""
        copy = self.frame.node_copy(node, lambda other: self.whole(self.values[other]))
        target: Any = copy.target
        copy.target = cast('Any', _IN_PLACE.get(target, target))  # cached features are not changed
        return Value(node, own=copy)

    def _linear(self, node: fx.Node) -> Value | None:
        """A linear operation on the parts of its input by themselves; None if it is no such."""
        if node.op == 'call_module':
            module = self.modules[str(node.target)]
            value = self.values[node.all_input_nodes[0]]
            if isinstance(module, _IDENTITIES):
                return value
            if isinstance(module, nn.Conv2d) and module.padding_mode == 'zeros':
                return self._convolved(node, module, value)
            if isinstance(module, nn.BatchNorm2d) and type(module) is nn.BatchNorm2d:
                return self._normalised(node, module, value)
            if isinstance(module, _RESIZERS):
                return self._on_both(node, value)
            return None
        if node.target in _ADDS and not node.kwargs:
            return self._sum(node, [self.values.get(x) for x in node.args])  # type: ignore[arg-type]
        if node.target in (torch.cat, torch.concat):
            return self._side_by_side(node)
        if node.target is torch.stack and _dim(node) == 0:
            return Value(node, stacked=[self.values[x] for x in _list(node.args[0])])
        if node.target == 'sum' and _dim(node) == 0:
            return self._sum(node, self.values[node.all_input_nodes[0]].stacked or [])
        if node.target is F.interpolate:
            return self._on_both(node, self.values[node.all_input_nodes[0]])
        return None

    # Linear operations.

    def _sum(self, node: fx.Node, values: Sequence[Value | None]) -> Value | None:
        known = [value for value in values if value is not None]
        shapes = {shape(value.node) for value in known}
        if len(known) != len(values) or len(known) < 2 or len(shapes) != 1:
            return None
        known = [self.joined(value) for value in known]
        deep = [value.key for value in known if value.key is not None]
        own = [value.own for value in known if value.own is not None]
        laterals = [value for value in known if value.lateral]
        if deep:
            # So that what follows sees no bias, which a padded convolution must not move.
            deep += [bias for v in laterals if (bias := self.bias_of(v)) is not None]
            own = [self.without_bias(value) for value in known if value.own is not None]
        lateral = laterals[0].lateral if deep and len(own) == 1 and laterals else None
        key, frame = added(self.keyframe, deep), added(self.frame, own)
        return Value(node, key=key, own=frame, lateral=lateral)

    def _side_by_side(self, node: fx.Node) -> Value | None:
        if _dim(node) != 1:
            return None
        given = _list(node.args[0] if node.args else node.kwargs['tensors'])
        parts = [part for x in given for part in self.values[x].parts or [self.values[x]]]
        return Value(node, parts=parts)

    def _on_both(self, node: fx.Node, value: Value) -> Value | None:
        """An operation that is linear and looks at every channel alone.

        Sums are made before they are enlarged: the smaller part is cheaper to cache and to move.
        """
        is_sum = value.key is not None and value.own is not None
        if is_sum and shape(node)[-1] > shape(value.node)[-1]:
            return None
        if value.parts:
            parts = [self._on_both_of(node, part) for part in value.parts]
            return None if None in parts else Value(node, parts=parts)  # type: ignore[arg-type]
        both = self._on_both_of(node, value)
        return both and replace(both, node=node)

    def _on_both_of(self, node: fx.Node, value: Value) -> Value | None:
        key = own = None
        sizes = [x for x in node.all_input_nodes if not is_tensor(x)]
        if value.key is not None:
            if any(self.values[size].key is None for size in sizes):
                return None
            sizes_there = {size: self.values[size].key for size in sizes}
            key = copied(self.keyframe, node, value.key, sizes_there)
        if value.own is not None:
            sizes_there = {size: self.whole(self.values[size]) for size in sizes}
            own = copied(self.frame, node, self.own(value), sizes_there)
        return Value(value.node, key=key, own=own)

    def _convolved(self, node: fx.Node, module: nn.Conv2d, value: Value) -> Value | None:
        name = str(node.target)
        if value.parts and module.groups > 1:
            return self._depthwise(node, module, value)
        begin, parts = 0, []
        for part in value.parts or [value]:
            parts.append((begin, begin + part.num_channels, part))
            begin += part.num_channels
        deep: list[fx.Node] = []
        own: list[fx.Node] = []
        for begin, end, part in parts:
            whole = begin == 0 and end == module.in_channels
            if part.stacked:
                return None
            if part.key is not None:
                weight = self.weight(self.keyframe, name, None if whole else (begin, end))
                bias = self.bias(self.keyframe, name, module) if not deep else None
                deep.append(conv(self.keyframe, module, part.key, weight, bias))
            if part.own is not None:
                weight = self.weight(self.frame, name, None if whole else (begin, end))
                own.append(self._convolved_own(module, part, weight))
        if not deep and own and module.bias is not None:
            shape = (1, -1, 1, 1)
            bias = self.frame.call_method('view', (self.bias(self.frame, name, module), *shape))
            own.append(bias)
        return Value(node, key=added(self.keyframe, deep), own=added(self.frame, own))

    def _convolved_own(self, module: nn.Conv2d, part: Value, weight: fx.Node) -> fx.Node:
        """A convolution of a frame's part; behind a lateral one both in one, if that is less."""
        assert part.own is not None
        if part.lateral and module.groups == 1:
            source, name = part.lateral
            lateral = self.modules[name]
            assert isinstance(lateral, nn.Conv2d)
            size = module.kernel_size[0] * module.kernel_size[1]
            both = lateral.in_channels * lateral.out_channels
            both += lateral.out_channels * module.out_channels * size
            if lateral.in_channels * module.out_channels * size < both:
                first = self.weight(self.frame, name, None)
                flat = self.frame.call_method('flatten', (first, 1))
                joint = self.frame.call_function(torch.einsum, ('omhw,mi->oihw', weight, flat))
                return conv(self.frame, module, source, joint, None)
        return conv(self.frame, module, self.own(part), weight, None)

    def _depthwise(self, node: fx.Node, module: nn.Conv2d, value: Value) -> Value | None:
        if not module.groups == module.in_channels == module.out_channels:
            return None
        name, begin = str(node.target), 0
        parts = []
        for part in value.parts or []:
            end = begin + part.num_channels
            key = own = None
            for graph, given in ((self.keyframe, part.key), (self.frame, part.own)):
                if given is None:
                    continue
                weight = graph.call_function(
                    operator.getitem, (graph.get_attr(f'{name}.weight'), slice(begin, end))
                )
                bias = None
                if module.bias is not None and (graph is self.keyframe or part.key is None):
                    bias = graph.call_function(
                        operator.getitem, (graph.get_attr(f'{name}.bias'), slice(begin, end))
                    )
                source = given if graph is self.keyframe else self.own(part)
                result = conv(graph, module, source, weight, bias, groups=end - begin)
                key, own = (result, own) if graph is self.keyframe else (key, result)
            parts.append(Value(part.node, key=key, own=own))
            begin = end
        return Value(node, parts=parts)

    def _normalised(self, node: fx.Node, module: nn.BatchNorm2d, value: Value) -> Value | None:
        if value.parts or value.stacked or value.key is None or value.own is None:
            return None
        if module.running_var is None or not module.affine:
            return None
        name, graph = str(node.target), self.frame
        variance = graph.call_function(
            torch.add, (graph.get_attr(f'{name}.running_var'), module.eps)
        )
        scale = graph.call_function(
            torch.mul, (graph.get_attr(f'{name}.weight'), graph.call_method('rsqrt', (variance,)))
        )
        shaped = graph.call_method('view', (scale, 1, -1, 1, 1))
        own = graph.call_function(torch.mul, (self.own(value), shaped))
        return Value(node, key=copied(self.keyframe, node, value.key, {}), own=own)


def _dim(node: fx.Node) -> Any:
    return node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else 0)


def _list(given: Any) -> list[fx.Node]:
    return list(given)
