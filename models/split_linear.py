"""Linear layers of what is known in parts: their work is taken apart, then put together anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn
import torch.nn.functional as F

from dcfm_ros.models.split_trace import module_of
from dcfm_ros.models.split_values import Builder, Part, Term, Value, fresh_map


def convolve(builder: Builder, node: fx.Node) -> Any:
    """A convolution of a concatenation or a sum, the bias on the keyframe's side."""
    conv = module_of(node, builder.root)
    value = fresh_map(builder, node.args[0])
    if value is None or not isinstance(conv, nn.Conv2d) or conv.padding_mode != 'zeros':
        return None
    if conv.groups > 1:
        return _grouped(builder, node, conv, value)
    weight, bias = (builder.parameter(str(node.target), name) for name in ('weight', 'bias'))
    assert weight is not None
    if conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding in ((0, 0), 'valid'):
        return pointwise(builder, value, weight, bias, conv.out_channels)
    return _spatial(builder, node, conv, value)


def linear(builder: Builder, node: fx.Node) -> Any:
    """A linear layer of tokens is a 1x1 convolution of their map."""
    value, layer = fresh_map(builder, node.args[0], 'tokens'), module_of(node, builder.root)
    if value is None or not isinstance(layer, nn.Linear):
        return None
    weight, bias = (builder.parameter(str(node.target), name) for name in ('weight', 'bias'))
    kernel = builder.call(as_kernel, weight)
    result = pointwise(builder, value, kernel, bias, layer.out_features)
    return result and Value(result.parts, 'tokens', value.of)


def merges(part: Part, channels: int, area: int) -> bool:
    """Whether convolving the sources of the terms at once is cheaper than one by one.

    Args:
        part: What is convolved.
        channels: That the convolution gives.
        area: Of its kernel.
    """
    weighted = [term.channels for term in part.terms if term.weight is not None]
    if len(weighted) < len(part.terms):
        return False
    at_once = sum(weighted) * area * channels
    return at_once <= sum(weighted) * part.channels + part.channels * area * channels


def worth_sharing(value: Value, channels: int, area: int) -> bool:
    """Whether the frame's side gets cheaper, or what the keyframe keeps for it smaller."""
    if len(value.parts) > 1:
        return True
    (part,) = value.parts
    return part.keyframe is None or channels <= part.channels or merges(part, channels, area)


def slices(builder: Builder, value: Value, weight: fx.Node) -> list[fx.Node]:
    """The weight of a convolution for each part of what it takes."""
    if len(value.parts) == 1:
        return [weight]
    found, start = [], 0
    for part in value.parts:
        found.append(builder.channels(weight, start, start + part.channels, axis=1))
        start += part.channels
    return found


def _keyframe_side(
    builder: Builder,
    parts: Sequence[Part],
    weights: Sequence[fx.Node],
    bias: fx.Node | None,
    options: tuple[Any, ...],
) -> fx.Node | None:
    known = [
        (p.keyframe, w) for p, w in zip(parts, weights, strict=True) if p.keyframe is not None
    ]
    if not known:
        return None
    maps, kernels = zip(*known, strict=True)
    return builder.call(F.conv2d, builder.concat(maps), builder.concat(kernels), bias, *options)


def pointwise(
    builder: Builder, value: Value, weight: fx.Node, bias: fx.Node | None, channels: int
) -> Value | None:
    """A 1x1 convolution, put off where the frame is concerned."""
    if not worth_sharing(value, channels, 1):
        return None
    weights = slices(builder, value, weight)
    constants = [
        builder.call(constant_through, w, part.constant)
        for part, w in zip(value.parts, weights, strict=True)
        if part.constant is not None
    ]
    terms: list[Term] = []
    for part, w in zip(value.parts, weights, strict=True):
        if not part.terms:
            continue
        if merges(part, channels, 1):
            terms += [
                Term(x.source, x.channels, builder.call(compose, w, x.weight), x.resizes)
                for x in part.terms
            ]
        elif len(part.terms) == 1 and part.terms[0].weight is None:
            (term,) = part.terms
            terms.append(Term(term.source, term.channels, w, term.resizes))
        else:
            whole = builder.total([builder.evaluate(term) for term in part.terms])
            assert whole is not None
            terms.append(Term(whole, part.channels, w))
    constant = builder.total([bias, *constants])
    keyframe = _keyframe_side(builder, value.parts, weights, constant, ())
    if keyframe is not None:
        constant = None
    return Value((Part(channels, keyframe, tuple(terms), constant),))


def _spatial(builder: Builder, node: fx.Node, conv: nn.Conv2d, value: Value) -> Value | None:
    area, channels = conv.kernel_size[0] * conv.kernel_size[1], conv.out_channels
    mergeable = [
        part.constant is None and bool(part.terms) and merges(part, channels, area)
        for part in value.parts
    ]
    alone = not any(part.keyframe for part in value.parts)
    if (alone and not any(mergeable)) or not worth_sharing(value, channels, area):
        return None
    weight, bias = (builder.parameter(str(node.target), name) for name in ('weight', 'bias'))
    assert weight is not None
    weights = slices(builder, value, weight)
    maps, kernels = [], []
    for part, w, merge in zip(value.parts, weights, mergeable, strict=True):
        if merge:
            for term in part.terms:
                maps.append(builder.evaluate(Term(term.source, term.channels, None, term.resizes)))
                kernels.append(builder.call(compose, w, term.weight))
        elif part.terms:
            maps.append(builder.frame_side(part))
            kernels.append(w)
    options = conv.stride, conv.padding, conv.dilation
    keyframe = _keyframe_side(builder, value.parts, weights, bias, options)
    own_bias = bias if keyframe is None else None
    # Weights are joined along their inputs, as the maps are.
    x = builder.call(F.conv2d, builder.concat(maps), builder.concat(kernels), own_bias, *options)
    return Value((Part(channels, keyframe, (Term(x, channels),)),))


def _grouped(builder: Builder, node: fx.Node, conv: nn.Conv2d, value: Value) -> Value | None:
    """Groups that lie within a part are convolved with it."""
    inputs, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    if len(value.parts) == 1 or any(part.channels % inputs for part in value.parts):
        return None
    weight, bias = (builder.parameter(str(node.target), name) for name in ('weight', 'bias'))
    parts: list[Part] = []
    first = 0
    for part in value.parts:
        last = first + part.channels // inputs
        x = builder.call(
            F.conv2d,
            builder.whole(part),
            builder.channels(weight, first * outputs, last * outputs),
            builder.channels(bias, first * outputs, last * outputs),
            conv.stride,
            conv.padding,
            conv.dilation,
            last - first,
        )
        parts += builder.as_value(x, (last - first) * outputs).parts
        first = last
    return Value(tuple(parts))


# What is done with weights while a decoder runs; a runtime that folds constants does it once.


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Weight of `conv(outer) o conv(inner)`: (O, M, k, k), (M, I, 1, 1) -> (O, I, k, k)."""
    if outer.shape[2:] == (1, 1):
        return (outer.flatten(1) @ inner.flatten(1))[:, :, None, None]
    return (outer.permute(0, 2, 3, 1) @ inner.flatten(1)).permute(0, 3, 1, 2)


def constant_through(outer: Tensor, constant: Tensor) -> Tensor:
    """What a 1x1 convolution makes of a constant: (O, I, 1, 1), (I,) -> (O,)."""
    return outer.flatten(1) @ constant


def as_kernel(weight: Tensor) -> Tensor:
    """Weight of a linear layer as that of a 1x1 convolution: (O, I) -> (O, I, 1, 1)."""
    return weight[:, :, None, None]
