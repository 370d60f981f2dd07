"""`SplitDecoder`: a decoder in two parts, one for keyframes and one for every frame.

Shapes: B batch, K classes; features are (B, C, h, w), each on its own grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import operator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import PH
from torch.fx.passes.shape_prop import ShapeProp

from dcfm_ros.models.linear_split import LinearSplit

_TOLERANCE = 1e-3
"""Largest difference to the decoder itself, relative to its largest output, on the examples."""


class SplitDecoder(nn.Module):
    """Splits a decoder by what its operations depend on.

    A decoder joins the features of all stages of an encoder. On a frame after a keyframe only the
    finest are fresh, the others are the keyframe's. Whatever depends on these alone is computed on
    the keyframe. Where both meet in sums or concatenations, the linear operations behind are done
    on either part by itself: a convolution of a concatenation is a sum of two convolutions, of
    which the keyframe does its own. What then remains for a frame is the way from its fresh
    features to the first non-linear operation, and all behind it.

    The weights stay those of `decoder`, whichever it has when it runs.
    """

    def __init__(self, decoder: nn.Module, features: Sequence[Tensor], num_fresh: int) -> None:
        """Trace a decoder.

        Args:
            decoder: In eval mode; takes a list of features, finest first, and returns logits.
            features: Examples of them.
            num_fresh: How many of the first are a frame's own.
        """
        super().__init__()
        self.decoder = decoder
        self.problem = ''
        """Why the decoder is not split: all of it then runs on every frame; '' if it is."""
        self._parts: tuple[Callable[..., Any], Callable[..., Any]] | None = None
        self._num_fresh = num_fresh
        try:
            self._parts = self._split(features)
        except Exception as error:  # whatever a foreign module does while it is traced
            self.problem = f'{type(error).__name__}: {error}'
            return
        with torch.no_grad():
            expected = decoder(list(features))
            fresh, deep = features[:num_fresh], features[num_fresh:]
            found = self.frame(fresh, self.keyframe(fresh, deep))
        limit = _TOLERANCE * float(expected.abs().max())
        if found.shape != expected.shape or (found - expected).abs().max() > limit:
            self._parts, self.problem = None, 'its parts compute something else'

    def keyframe(self, fresh: Sequence[Tensor], deep: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What can be done on a keyframe: features to cache.

        Args:
            fresh: Its fresh features, of which only the sizes matter.
            deep: Its other features.
        """
        if self._parts is None:
            return tuple(deep)
        cached: tuple[Tensor, ...] = self._parts[0](self, *fresh, *deep)
        return cached

    def frame(self, fresh: Sequence[Tensor], cached: Sequence[Tensor]) -> Tensor:
        """Logits, (B, K, h, w), from a frame's fresh features and a keyframe's cached ones."""
        if self._parts is None:
            return cast('Tensor', self.decoder([*fresh, *cached]))
        logits = self._parts[1](self, *fresh, *cached)
        return cast('Tensor', logits)

    def _split(self, features: Sequence[Tensor]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        root = _Root(self.decoder).eval()
        given = {'features': [PH] * len(features)}
        traced = fx.GraphModule(root, _Tracer(features).trace(root, concrete_args=given))
        ShapeProp(traced).propagate(list(features))
        split = LinearSplit(traced, self._num_fresh)
        return _compiled(split.keyframe), _compiled(split.frame)


class _Root(nn.Module):
    """Gives modules the names that they have in a `SplitDecoder`."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, features: list[Tensor]) -> Tensor:
        logits: Tensor = self.decoder(features)
        return logits


class _Tracer(fx.Tracer):
    """Knows how many sizes an image has, and how many channels the features have."""

    def __init__(self, features: Sequence[Tensor]) -> None:
        super().__init__()
        self._num_channels = [feature.shape[1] for feature in features]
        self._seen: list[fx.Node] = []

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> fx.Node:
        """Remember which placeholder is which feature."""
        node = super().create_node(kind, *args, **kwargs)
        if kind == 'placeholder':
            self._seen.append(node)
        return node

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide what only asks whether a feature has channels."""
        node = obj.node
        is_asked = node.target in (operator.eq, operator.ne) and node.args[1] == 0
        if is_asked and (num_channels := self._channels(node.args[0])) is not None:
            return (num_channels == 0) == (node.target is operator.eq)
        return super().to_bool(obj)

    def _channels(self, node: Any) -> int | None:
        """The number that a node is, if it is that of the channels of a feature."""
        if node.target == 'size' and node.args[1:] == (1,):
            source = node.args[0]
        elif node.target is operator.getitem and node.args[1] == 1 and _axes(node.args[0]):
            source = node.args[0].args[0]
        else:
            return None
        return self._num_channels[self._seen.index(source)] if source in self._seen else None

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Take the shape of an image apart, or a slice of it."""
        if (indices := _axes(obj.node)) is None:
            return super().iter(obj)
        shape: Any = obj
        return iter([shape[index] for index in range(len(indices))])


def _axes(node: fx.Node) -> range | None:
    """Axes of an image whose lengths a node is."""
    if (node.target is getattr and node.args[1] == 'shape') or node.target == 'size':
        return range(4) if len(node.args) == (2 if node.target is getattr else 1) else None
    if node.target is operator.getitem and isinstance(node.args[0], fx.Node):
        axes = _axes(node.args[0])
        return axes[node.args[1]] if axes and isinstance(node.args[1], slice) else None
    return None


def _compiled(graph: fx.Graph) -> Callable[..., Any]:
    """A graph as a method, which finds modules and weights in `self`, so that there is no copy."""
    graph.eliminate_dead_code(lambda node: node.op in ('placeholder', 'output'))
    graph.lint()
    code = graph.python_code('self')
    names = dict(code.globals)
    exec(code.src, names)
    method: Callable[..., Any] = names['forward']
    return method
