"""`SplitGraphs`: the two graphs that a decoder is split into, and what of a tensor is in which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import operator
from typing import Any

import torch
from torch import fx, nn
import torch.nn.functional as F


@dataclass(eq=False)
class Value:
    """A tensor of the decoder as the sum of two, or as several side by side."""

    node: fx.Node
    """In the graph of the decoder."""
    key: fx.Node | None = None
    """In the keyframe's graph: the part that depends on no fresh feature."""
    own: fx.Node | None = None
    """In the frame's graph: the part that does."""
    parts: list[Value] | None = None
    """Of a concatenation along the channels; then it has neither `key` nor `own`."""
    stacked: list[Value] | None = None
    """Of `torch.stack`, whose sum is wanted."""
    lateral: tuple[fx.Node, str] | None = None
    """`own` is the 1x1 convolution of this name, without its bias, of that node."""
    whole: fx.Node | None = None
    """In the frame's graph: the tensor itself, once it was needed."""

    is_constant: bool = False
    """Whether it depends on weights only."""

    @property
    def is_deep(self) -> bool:
        """Whether it depends on no fresh feature."""
        return self.key is not None and self.own is None

    @property
    def num_channels(self) -> int:
        """C."""
        return int(shape(self.node)[1])


class SplitGraphs:
    """The graph of a keyframe and that of every frame, while they are made."""

    def __init__(self, traced: fx.GraphModule, num_fresh: int) -> None:
        """Begin them with the features.

        Args:
            traced: A decoder whose nodes know their shapes, with a placeholder for every feature.
            num_fresh: How many of the first are fresh.
        """
        self.modules = dict(traced.named_modules())
        self.keyframe, self.frame = fx.Graph(), fx.Graph()
        """From fresh and deep features to those to cache; from fresh and cached ones to logits."""
        self.values: dict[fx.Node, Value] = {}
        """Of the nodes so far."""
        self._cached: dict[fx.Node, fx.Node] = {}
        placeholders = [node for node in traced.graph.nodes if node.op == 'placeholder']
        self.sizes = {node: self.keyframe.placeholder(node.name) for node in placeholders}
        """In the keyframe's graph: where the sizes of features are taken from."""
        for index, node in enumerate(placeholders):
            if index < num_fresh:
                self.values[node] = Value(node, own=self.frame.placeholder(node.name))
            else:
                self.values[node] = Value(node, key=self.sizes[node])
        self._end_of_inputs: fx.Node | None = next(iter(reversed(self.frame.nodes)), None)

    def finish(self, result: fx.Node) -> None:
        """End them where the decoder ends."""
        self.frame.output(self.whole(self.values[result]))
        self.keyframe.output(tuple(self._cached))

    # Lateral convolutions: 1x1, of fresh features, whose bias may be moved to the keyframe.

    def is_module(self, node: fx.Node, kind: type[nn.Module]) -> bool:
        """Whether a node calls a module of some kind."""
        return node.op == 'call_module' and isinstance(self.modules[str(node.target)], kind)

    def is_lateral(self, node: fx.Node) -> bool:
        """Whether a convolution is 1x1 and plain."""
        module = self.modules[str(node.target)]
        assert isinstance(module, nn.Conv2d)
        is_plain = module.stride == (1, 1) and module.groups == 1 and module.padding in (0, (0, 0))
        return module.kernel_size == (1, 1) and is_plain

    def lateral(self, node: fx.Node, value: Value) -> Value:
        """A lateral convolution, which remembers what it is."""
        source, name = self.whole(value), str(node.target)
        own = self.frame.node_copy(node, lambda _: source)
        return Value(node, own=own, lateral=(source, name))

    def bias_of(self, value: Value) -> fx.Node | None:
        """The bias of a lateral convolution that still has it, for the keyframe's side."""
        if value.lateral is None or value.key is not None:
            return None
        name = value.lateral[1]
        module = self.modules[name]
        if module.bias is None:
            return None
        bias = self.keyframe.get_attr(f'{name}.bias')
        return self.keyframe.call_method('view', (bias, 1, -1, 1, 1))

    def without_bias(self, value: Value) -> fx.Node:
        """The frame's part of a value, whose lateral bias is elsewhere."""
        assert value.own is not None
        if value.lateral is None or value.key is not None:
            return value.own
        source, name = value.lateral
        module = self.modules[name]
        assert isinstance(module, nn.Conv2d)
        return conv(self.frame, module, source, self.weight(self.frame, name, None), None)

    # Nodes.

    def joined(self, value: Value) -> Value:
        """A value that is no concatenation."""
        if value.parts is None:
            return value
        return Value(value.node, own=self.whole(value))

    def own(self, value: Value) -> fx.Node:
        """The frame's part of a value that has one."""
        assert value.own is not None
        return value.own

    def whole(self, value: Value) -> fx.Node:
        """A tensor, or a size, in the frame's graph."""
        if value.whole is None:
            value.whole = self._make_whole(value)
        return value.whole

    def _make_whole(self, value: Value) -> fx.Node:
        if value.parts or value.stacked:
            parts = [self.whole(part) for part in value.parts or value.stacked or []]
            join = torch.cat if value.parts else torch.stack
            return self.frame.call_function(join, (parts, 1 if value.parts else 0))
        if value.key is None:
            return self.own(value)
        if is_free(value):  # computed again
            copy = self.frame.node_copy
            return copy(value.node, lambda other: self.whole(self.values[other]))
        if value.key not in self._cached:
            with self.frame.inserting_after(self._end_of_inputs):
                cached = self.frame.placeholder(f'cached_{len(self._cached)}')
            self._end_of_inputs = self._cached[value.key] = cached
        cached = self._cached[value.key]
        if value.own is None:
            return cached
        return self.frame.call_function(operator.add, (cached, value.own))

    def weight(self, graph: fx.Graph, name: str, channels: tuple[int, int] | None) -> fx.Node:
        """Weight of a convolution for some of its input channels; None: all."""
        weight = graph.get_attr(f'{name}.weight')
        if channels is None:
            return weight
        where = (slice(None), slice(*channels))
        return graph.call_function(operator.getitem, (weight, where))

    def bias(self, graph: fx.Graph, name: str, module: nn.Conv2d) -> fx.Node | None:
        """Bias of a convolution, if it has one."""
        return None if module.bias is None else graph.get_attr(f'{name}.bias')


def conv(
    graph: fx.Graph,
    module: nn.Conv2d,
    given: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None,
    groups: int = 0,
) -> fx.Node:
    """A convolution like that of a module."""
    how = (module.stride, module.padding, module.dilation, groups or module.groups)
    return graph.call_function(F.conv2d, (given, weight, bias, *how))


def copied(graph: fx.Graph, node: fx.Node, given: fx.Node, sizes: Any) -> fx.Node:
    """An operation on another tensor than that of the decoder, with sizes from a graph."""
    return graph.node_copy(node, lambda other: sizes.get(other, given))


def added(graph: fx.Graph, nodes: Sequence[fx.Node]) -> fx.Node | None:
    """The sum of nodes; None if there are none."""
    total = None
    for node in nodes:
        total = node if total is None else graph.call_function(operator.add, (total, node))
    return total


def is_tensor(node: fx.Node) -> bool:
    """Whether a node of the decoder is a tensor, and no size."""
    return 'tensor_meta' in node.meta


def is_size(value: Value) -> bool:
    """Whether a value is no tensor."""
    return not is_tensor(value.node)


def is_free(value: Value) -> bool:
    """Whether either side may compute it."""
    return value.is_constant or is_size(value)


def shape(node: fx.Node) -> tuple[int, ...]:
    """Of a tensor, for the examples."""
    return tuple(node.meta['tensor_meta'].shape)
