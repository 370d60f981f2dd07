"""How every operation of a decoder is shared between a keyframe and the frames after it.

A rule takes an operation of the traced graph and gives what becomes of it, or None: then it is
copied to the side that knows all of its inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn
import torch.nn.functional as F

from dcfm_ros.models import split_trace as trace
from dcfm_ros.models.split_linear import convolve, linear
from dcfm_ros.models.split_trace import argument, canonical, module_of, value_of
from dcfm_ros.models.split_values import Builder, Part, Side, Term, Value, fresh_map

Rule = Callable[[Builder, fx.Node], Any]
LINEAR_RESIZES = {'nearest', 'nearest-exact', 'bilinear', 'bicubic', 'area'}
RESIZERS = (nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d)


def share(traced: fx.Graph, root: nn.Module, num_fresh: int) -> fx.Node:
    """Write the operations of both sides into one graph.

    Returns:
        What the decoder returns; all that it needs is found from there.
    """
    builder = Builder(root)
    inputs = [node for node in traced.nodes if node.op == 'placeholder']
    for i, node in enumerate(inputs):
        written = builder.graph.placeholder(str(node.target))
        written.meta.update(side=Side.FRAME if i < num_fresh else Side.KEYFRAME, tensor=True)
        shape = value_of(node).shape
        builder.values[node] = builder.as_value(written, shape[1]) if len(shape) == 4 else written
    (output,) = (node for node in traced.nodes if node.op == 'output')
    for node in traced.nodes:
        if node.op in ('placeholder', 'output'):
            continue
        rule = rule_of(node, root)
        value = rule(builder, node) if rule and node.args else None
        builder.values[node] = builder.copy(node) if value is None else value
        if trace.works_in_place(node, root):
            builder.values[node.args[0]] = builder.values[node]
    return builder.node(output.args[0])


def rule_of(node: fx.Node, root: nn.Module) -> Rule | None:
    """The rule for an operation, if there is one."""
    module = module_of(node, root)
    # Exactly these types: what a subclass does is not known.
    return BY_TARGET.get(node.target) if module is None else BY_MODULE.get(type(module))


def pass_through(builder: Builder, node: fx.Node) -> Any:
    """What does nothing in eval mode."""
    if node.target is F.dropout and argument(node, 2, 'training', True):
        return None
    return builder.values[node.args[0]]  # type: ignore[index]


def resize(builder: Builder, node: fx.Node) -> Any:
    """Linear, and each pixel is a mean of others: it changes places with a 1x1 convolution."""
    value = fresh_map(builder, node.args[0])
    if value is None:
        return None
    module, source = module_of(node, builder.root), node.args[0]
    size = argument(node, 1, 'size')
    if module is None and isinstance(size, (list, tuple)):
        own = [canonical((source, axis), builder.root) for axis in (2, 3)]
        if own == [canonical(dim, builder.root) for dim in size]:
            return value
    mode = getattr(module, 'mode', None) or argument(node, 3, 'mode', 'nearest')
    used: list[fx.Node] = []
    fx.node.map_arg(builder.plain((node.args[1:], node.kwargs)), used.append)
    if mode not in LINEAR_RESIZES or any(x.meta['side'] == Side.FRAME for x in used):
        return None
    if any(part.keyframe for part in value.parts) and not feeds_convolution(node, builder.root):
        return None  # nothing would be saved, and the larger map kept and moved
    return Value(tuple(_resized(builder, node, part) for part in value.parts))


def _resized(builder: Builder, node: fx.Node, part: Part) -> Part:
    terms = (
        Term(term.source, term.channels, term.weight, (*term.resizes, node)) for term in part.terms
    )
    keyframe = None if part.keyframe is None else builder.apply(node, part.keyframe)
    return Part(part.channels, keyframe, tuple(terms), part.constant)


def feeds_convolution(node: fx.Node, root: nn.Module) -> bool:
    """Whether a convolution takes what the node gives, with but linear operations between."""
    rules = {user: rule_of(user, root) for user in node.users}
    return any(
        rule in (convolve, linear) or (rule in LINEAR and feeds_convolution(user, root))
        for user, rule in rules.items()
    )


def add(builder: Builder, node: fx.Node) -> Any:
    """Both sides' parts by themselves."""
    if len(node.args) != 2:
        return None
    x, y = node.args
    if node.kwargs or not (isinstance(x, fx.Node) and isinstance(y, fx.Node)):
        return None
    return _sum(builder, [x, y])


def _sum(builder: Builder, nodes: Iterable[fx.Node]) -> Value | None:
    values = [builder.values[node] for node in nodes]
    shapes = {tuple(getattr(value_of(node), 'shape', ())) for node in nodes}
    if len(shapes) > 1 or not all(isinstance(x, Value) and x.layout == 'map' for x in values):
        return None
    channels = {tuple(part.channels for part in value.parts) for value in values}
    if len(channels) > 1 or (
        all(value.is_plain for value in values)
        and len({value.on_keyframe for value in values}) == 1
    ):
        return None
    columns = zip(*(value.parts for value in values), strict=True)
    return Value(tuple(builder.add(parts) for parts in columns))


def concat(builder: Builder, node: fx.Node) -> Any:
    """Stays in parts, for a convolution to take apart."""
    if trace.concat_axis(node) != 1 or value_of(node).ndim != 4:
        return None
    values = [builder.values[x] for x in node.args[0]]  # type: ignore[union-attr,index]
    if not all(isinstance(value, Value) and value.layout == 'map' for value in values):
        return None
    if len({value.on_keyframe for value in values}) == 1 and all(x.is_plain for x in values):
        return None
    parts = tuple(part for value in values for part in value.parts)
    return Value(tuple(part for part in parts if part.channels))  # there may be empty maps


def total(builder: Builder, node: fx.Node) -> Any:
    """`torch.stack(maps).sum(dim=0)`: the stack itself, copied before, is then not needed."""
    stack = node.args[0]
    axis = argument(node, 1, 'dim')
    if not isinstance(stack, fx.Node) or stack.target is not torch.stack or axis not in (0, (0,)):
        return None
    if argument(stack, 1, 'dim', 0) != 0 or len(node.args) > 2 or 'keepdim' in node.kwargs:
        return None
    return _sum(builder, stack.args[0])  # type: ignore[arg-type]


def flatten(builder: Builder, node: fx.Node) -> Any:
    """A map seen as tokens: how transformers' heads run a linear layer on it."""
    value = fresh_map(builder, node.args[0])
    if value is None or node.args[1:] not in ((2,), (2, 3), (2, -1)) or node.kwargs:
        return None
    return Value(value.parts, 'flat', node.args[0])  # type: ignore[arg-type]


def transpose(builder: Builder, node: fx.Node) -> Any:
    """Between `flat` and `tokens`."""
    if {axis % 3 for axis in node.args[1:] if isinstance(axis, int)} != {1, 2}:
        return None
    for layout, other in (('flat', 'tokens'), ('tokens', 'flat')):
        if value := fresh_map(builder, node.args[0], layout):
            return Value(value.parts, other, value.of)
    return None


def reshape(builder: Builder, node: fx.Node) -> Any:
    """Tokens seen as the map that they were."""
    value = fresh_map(builder, node.args[0], 'flat')
    if value is None or len(node.args) != 5:
        return None
    batch, channels, *size = (canonical(dim, builder.root) for dim in node.args[1:])
    own = [canonical((value.of, axis), builder.root) for axis in (0, 2, 3)]
    if [batch, *size] != own or channels not in (-1, sum(x.channels for x in value.parts)):
        return None
    return Value(value.parts)


LINEAR = (add, concat, total, resize, pass_through)
BY_MODULE: dict[Any, Rule] = {nn.Conv2d: convolve, nn.Linear: linear}
BY_MODULE |= dict.fromkeys(trace.TRANSPARENT, pass_through) | dict.fromkeys(RESIZERS, resize)
BY_TARGET: dict[Any, Rule] = dict.fromkeys(trace.ADD, add) | dict.fromkeys(trace.CONCAT, concat)
BY_TARGET |= {F.interpolate: resize, F.dropout: pass_through, 'contiguous': pass_through}
BY_TARGET |= {torch.sum: total, 'sum': total, torch.flatten: flatten, 'flatten': flatten}
BY_TARGET |= {torch.transpose: transpose, 'transpose': transpose}
BY_TARGET |= {torch.reshape: reshape, 'reshape': reshape, 'view': reshape}
