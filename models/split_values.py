"""What a decoder's operations become: what the keyframe knows plus what the frame adds.

`Builder` writes the operations of both sides into one graph, where each says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
import torch.nn.functional as F

from dcfm_ros.models.split_trace import is_content_free, module_of, value_of, works_in_place


class Side(IntEnum):
    """Who can compute an operation; one that takes several values is the last one's."""

    ANY = 0
    """Either: it needs weights and sizes of fresh features only."""
    KEYFRAME = 1
    FRAME = 2


@dataclass(frozen=True, eq=False)
class Term:
    """A 1x1 convolution of `source`, then resized: put off, for it may merge with what follows."""

    source: fx.Node
    channels: int
    """Of `source`."""
    weight: fx.Node | None = None
    """None for none: `source` itself."""
    resizes: tuple[fx.Node, ...] = ()
    """Operations of the traced graph."""


@dataclass(frozen=True, eq=False)
class Part:
    """Channels of a map: `keyframe` + the sum of `terms` + `constant`, as far as there are such.

    There is no constant beside a keyframe's part, which takes it in.
    """

    channels: int
    keyframe: fx.Node | None = None
    terms: tuple[Term, ...] = ()
    constant: fx.Node | None = None
    """Per channel."""


@dataclass(frozen=True, eq=False)
class Value:
    """A map (B, C, h, w) as a concatenation of parts along C."""

    parts: tuple[Part, ...]
    layout: str = 'map'
    """`map`, or seen as `flat` (B, C, h * w) or `tokens` (B, h * w, C)."""
    of: fx.Node | None = None
    """Where it is seen as another layout: the map, in the traced graph."""

    @property
    def on_keyframe(self) -> bool:
        """Whether the keyframe alone knows it."""
        return not any(part.terms for part in self.parts)

    @property
    def is_plain(self) -> bool:
        """Whether it is one side's, with nothing put off that could merge with what follows."""
        terms = [term for part in self.parts for term in part.terms]
        return self.on_keyframe or (
            not any(part.keyframe or part.constant for part in self.parts)
            and not any(term.weight for term in terms)
        )


@dataclass(eq=False)
class Builder:
    """Writes operations, each once, and evaluates what was put off."""

    root: nn.Module
    graph: fx.Graph = field(default_factory=fx.Graph)
    written: dict[Any, fx.Node] = field(default_factory=dict)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    """What became of each operation of the traced graph: `Value`, `Node`, or a list of them."""

    def emit(
        self, op: str, target: Any, args: Any = (), kwargs: Any = None, tensor: bool = True
    ) -> fx.Node:
        """Write an operation, or find it where the same was written before."""
        key = repr((op, target, args, kwargs or {}, id(target)))
        if key not in self.written:
            node = self.graph.create_node(op, target, args, kwargs or {})
            sides = [used.meta['side'] for used in node.all_input_nodes]
            node.meta.update(side=max(sides, default=Side.ANY), tensor=tensor)
            if is_content_free(node) and node.all_input_nodes[0].op == 'placeholder':
                fresh = node.all_input_nodes[0].meta['side'] == Side.FRAME
                node.meta['side'] = Side.ANY if fresh else Side.KEYFRAME
            self.written[key] = node
        return self.written[key]

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Write a call of a function that gives a tensor."""
        return self.emit('call_function', function, args, kwargs)

    def parameter(self, module: str, name: str) -> fx.Node | None:
        """A parameter or buffer of a module of the decoder; None where it has none."""
        if getattr(self.root.get_submodule(module), name) is None:
            return None
        return self.emit('get_attr', f'{module}.{name}')

    def channels(self, x: fx.Node | None, start: int, stop: int, axis: int = 0) -> Any:
        """A range of channels of a weight; None of None."""
        if x is None:
            return None
        index = (*[slice(None)] * axis, slice(start, stop))
        return self.call(operator.getitem, x, index)

    def total(self, nodes: Sequence[fx.Node | None]) -> fx.Node | None:
        """The sum of those that are not None."""
        total = None
        for node in nodes:
            if node is not None:
                total = node if total is None else self.call(operator.add, total, node)
        return total

    def concat(self, nodes: Sequence[fx.Node], axis: int = 1) -> fx.Node:
        """The nodes along an axis."""
        return nodes[0] if len(nodes) == 1 else self.call(torch.cat, list(nodes), axis)

    def add(self, parts: Sequence[Part]) -> Part:
        """The sum of parts of the same channels."""
        keyframe = self.total([part.keyframe for part in parts])
        constant = self.total([part.constant for part in parts])
        if keyframe is not None and constant is not None:
            keyframe, constant = self.call(add_constant, keyframe, constant), None
        terms = tuple(term for part in parts for term in part.terms)
        return Part(parts[0].channels, keyframe, terms, constant)

    def evaluate(self, term: Term, bias: fx.Node | None = None) -> fx.Node:
        """Compute a term, the convolution on the smaller grid."""
        x = term.source
        if term.weight is not None:
            x = self.call(F.conv2d, x, term.weight, bias)
        for how in term.resizes:
            x = self.apply(how, x)
        return x

    def frame_side(self, part: Part) -> fx.Node:
        """The terms of a part and its constant, which the first convolution takes as its bias."""
        terms = sorted(part.terms, key=lambda term: term.weight is None)
        nodes = [self.evaluate(terms[0], part.constant if terms[0].weight else None)]
        nodes += [self.evaluate(term) for term in terms[1:]]
        total = self.total(nodes)
        assert total is not None
        if part.constant is None or terms[0].weight:
            return total
        return self.call(add_constant, total, part.constant)

    def whole(self, part: Part) -> fx.Node:
        """All of a part."""
        if not part.terms:
            assert part.keyframe is not None
            return part.keyframe
        total = self.total([self.frame_side(part), part.keyframe])
        assert total is not None
        return total

    def node(self, traced: fx.Node) -> Any:
        """What became of an operation, evaluated."""
        value = self.values[traced]
        if not isinstance(value, Value):
            return value
        x = self.concat([self.whole(part) for part in value.parts])
        if value.layout != 'map':
            x = self.emit('call_method', 'flatten', (x, 2))
        if value.layout == 'tokens':
            x = self.emit('call_method', 'transpose', (x, 1, 2))
        return x

    def plain(self, args: Any) -> Any:
        """Arguments of a traced operation as arguments of a written one."""
        return fx.node.map_arg(args, self.node)

    def as_value(self, node: fx.Node, channels: int) -> Value:
        """A written operation that gives a map."""
        if node.meta['side'] == Side.FRAME:
            return Value((Part(channels, terms=(Term(node, channels),)),))
        return Value((Part(channels, keyframe=node),))

    def apply(self, traced: fx.Node, *inputs: fx.Node) -> fx.Node:
        """Write a traced operation with other leading arguments.

        Never in place, for what it is given may be of use elsewhere.
        """
        rest, kwargs = self.plain((traced.args[len(inputs) :], traced.kwargs))
        args, op, target = (*inputs, *rest), traced.op, traced.target
        if 'inplace' in kwargs:
            kwargs = {**kwargs, 'inplace': False}
        elif type(module_of(traced, self.root)) is nn.ReLU:
            op, target = 'call_function', F.relu
        elif works_in_place(traced, self.root):
            args = (self.emit('call_method', 'clone', (args[0],)), *args[1:])
        return self.emit(op, target, args, kwargs, isinstance(value_of(traced), Tensor))

    def copy(self, traced: fx.Node) -> Any:
        """Write a traced operation as it is, on the side that knows all of its inputs."""
        node, example = self.apply(traced), value_of(traced)
        if isinstance(example, Tensor) and example.ndim == 4 and traced.op != 'get_attr':
            return self.as_value(node, example.shape[1])
        return node


def fresh_map(builder: Builder, x: Any, layout: str = 'map') -> Value | None:
    """What became of x, if that is a map that the keyframe does not know all of."""
    value = builder.values.get(x) if isinstance(x, fx.Node) else None
    if not isinstance(value, Value) or value.layout != layout or value.on_keyframe:
        return None
    return value


def add_constant(x: Tensor, constant: Tensor) -> Tensor:
    """Add a number to every channel: (B, C, h, w), (C,) -> (B, C, h, w)."""
    return x + constant[:, None, None]
