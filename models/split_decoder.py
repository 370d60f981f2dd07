"""Splitting any decoder in two: what a keyframe can do once, and what every frame must.

A decoder mixes the features of an encoder. Where the finest of them are a frame's own and the
rest a keyframe's, much of the decoder depends on the latter alone. That is done on the keyframe,
and what is linear after it is shared out: a convolution of a concatenation is the sum of two, one
of which the keyframe knows, and convolutions on the frame's side with nothing between them are
merged into one where that is cheaper.

Shapes: B batch, C channels, K classes, h w the grid of a feature, which differs between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from dcfm_ros.models.split_rules import share
from dcfm_ros.models.split_trace import Tracer
from dcfm_ros.models.split_values import Side

TOLERANCE = 1e-3
"""Largest difference to the whole decoder's logits, in parts of the largest logit.

Of half precision, which is coarser than that: 30 of its steps.
"""


class SplitDecoder(nn.Module):
    """A decoder in two parts, from `split_decoder`; for inference, hence in eval mode.

    It has the weights of the decoder as `decoder.*` and no others; change them at will. It can be
    copied but not pickled: keep its state dict.
    """

    problem: str
    """Why nothing is split; empty if it is."""

    def __init__(self, decoder: nn.Module, num_fresh: int, num_deep: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.num_fresh = num_fresh
        self.num_deep = num_deep
        self.problem = ''
        self._on_keyframe: Callable[..., tuple[Tensor, ...]] | None = None
        self._on_frame: Callable[..., Tensor] | None = None
        self.eval()

    def keyframe(self, fresh: Sequence[Tensor], deep: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What later frames reuse.

        Args:
            fresh: The finest features, (B, C, h, w); only their shapes count.
            deep: The others, (B, C, h, w), finest first.
        """
        self._check(fresh, 'fresh', self.num_fresh)
        self._check(deep, 'deep', self.num_deep)
        if self._on_keyframe is None:
            return tuple(deep)
        return self._on_keyframe(self, *fresh, *deep)

    def frame(self, fresh: Sequence[Tensor], cached: Sequence[Tensor]) -> Tensor:
        """Class logits of a frame, (B, K, h, w).

        Args:
            fresh: The frame's own features, (B, C, h, w).
            cached: From `keyframe`.
        """
        self._check(fresh, 'fresh', self.num_fresh)
        if self._on_frame is None:
            return self.forward(*fresh, *cached)
        return self._on_frame(self, *fresh, *cached)

    def forward(self, *features: Tensor) -> Tensor:
        """Class logits of a frame all of whose features are its own, finest first."""
        return self.decoder(list(features))  # a new list, for some decoders write to it

    @staticmethod
    def _check(features: Sequence[Tensor], name: str, count: int) -> None:
        if len(features) != count:
            raise ValueError(f'there must be {count} {name} features, not {len(features)}')

    def split(self, features: Sequence[Tensor], logits: Tensor) -> None:
        """Trace the decoder, compile the two parts, and check them.

        Args:
            features: Examples, finest first.
            logits: What the whole decoder makes of them.

        Raises:
            Exception: Where the decoder does with a feature what needs numbers, not symbols.
        """
        # Decoders write to what they are given: an activation in place, say.
        features = [feature.clone() for feature in features]
        tracer = Tracer(features, self.num_fresh)
        output = share(tracer.trace(self), self, self.num_fresh)
        cached = cached_of(output)
        graph = output.graph
        inputs = [node for node in graph.nodes if node.op == 'placeholder']
        self._on_keyframe = compiled(inputs, tuple(cached))
        self._on_frame = compiled([*inputs[: self.num_fresh], *cached], output)
        fresh, deep = features[: self.num_fresh], features[self.num_fresh :]
        parts = self.frame(fresh, self.keyframe(fresh, deep))
        difference, largest = (logits - parts).abs().max(), logits.abs().max()
        if not difference <= max(TOLERANCE, 30 * torch.finfo(logits.dtype).eps) * largest:
            raise RuntimeError(f'the two parts give other logits, by up to {difference:.3g}')


def split_decoder(decoder: nn.Module, features: Sequence[Tensor], num_fresh: int) -> SplitDecoder:
    """Split a decoder into what a keyframe does and what every frame does.

    For one frame, `frame(fresh, keyframe(fresh, deep))` is `decoder([*fresh, *deep])` up to
    rounding, at any image size. A decoder that cannot be traced is not split: then every frame
    runs all of it, and `problem` says why.

    Args:
        decoder: Takes one list of an encoder's features, finest first, and returns class logits,
            (B, K, h, w). It is put in eval mode and becomes part of the result.
        features: Examples of these features, (B, C, h, w); of every size but their channels'
            another will do as well, if maps are larger than 1 x 1.
        num_fresh: How many of them, from the first on, are new in every frame.

    Raises:
        ValueError: If there are not as many features.
        TypeError: If the decoder returns anything but a tensor.
        Exception: Whatever the decoder raises for the examples.
    """
    if not 0 <= num_fresh <= len(features):
        raise ValueError(f'num_fresh must be 0 to {len(features)}, not {num_fresh}')
    result = SplitDecoder(decoder, num_fresh, len(features) - num_fresh)
    with torch.no_grad():
        logits = result(*(feature.clone() for feature in features))
    if not isinstance(logits, Tensor):
        raise TypeError(f'the decoder must return a tensor, not {type(logits).__name__}')
    try:
        with torch.no_grad():
            result.split(features, logits)
    except Exception as error:  # of any kind: it is the decoder's own code that runs
        result = SplitDecoder(decoder, num_fresh, len(features) - num_fresh)
        result.problem = f'{type(error).__name__}: {error}'
    return result


def cached_of(output: fx.Node) -> list[fx.Node]:
    """Tensors that the keyframe computes and the frame's side takes, in the order written."""
    found: set[fx.Node] = set()
    seen: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        # A number is worked out again, from the size of a tensor that is kept.
        if node.meta['side'] == Side.KEYFRAME and node.meta['tensor']:
            found.add(node)
        else:
            waiting += node.all_input_nodes
    return [node for node in output.graph.nodes if node in found]


def compiled(inputs: Sequence[fx.Node], outputs: Any) -> Callable[..., Any]:
    """The operations from `inputs` to `outputs` as a function of the root module and the inputs.

    It is not a `GraphModule`, which would hold the decoder's weights under a second name.
    """
    graph = fx.Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    needed: set[fx.Node] = set()
    waiting: list[fx.Node] = []
    fx.node.map_arg(outputs, waiting.append)
    whole = waiting[0].graph if waiting else fx.Graph()
    while waiting:
        node = waiting.pop()
        if node not in needed and node not in copies:
            needed.add(node)
            waiting += node.all_input_nodes
    for node in whole.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(fx.node.map_arg(outputs, copies.__getitem__))
    code = graph.python_code('self')
    names: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, '<split decoder>', 'exec'), names)
    return names['forward']
