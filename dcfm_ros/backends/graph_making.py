"""From a network in PyTorch to `Graphs`: in a second, and good for every image size.

Shapes: H W image, h w grid; features have their channels last.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.graphs import Graphs, Model, UntranslatableError, graph_key
from dcfm_ros.backends.onnx_graph import to_onnx
from dcfm_ros.backends.split_fusion import decode, mean, split_fusion
from dcfm_ros.backends.stages import Stage
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM

_EXAMPLE = (96, 128)
"""Rows and columns of the image that the stages are traced with."""


@torch.no_grad()
def make_graphs(net: DCFM) -> Graphs:
    """The stages of a network, without its weights.

    Args:
        net: The network, float32, in eval mode.

    Raises:
        ImportError: If ONNX is not installed, which PyTorch's exporter needs.
        UntranslatableError: If the exporter cannot translate the network.
    """
    if find_spec('onnx') is None:
        raise ImportError("No module named 'onnx'")

    def export(stage: Stage, inputs: dict[str, Tensor], outputs: tuple[str, ...] = ()) -> Model:
        run = partial(stage, net)
        try:
            return Model(to_onnx(net, run, inputs, outputs, is_for_any_size=True))
        except Exception as error:  # whatever the exporter may raise
            raise UntranslatableError(str(error)) from error

    image = torch.zeros(1, *_EXAMPLE, 3, dtype=torch.uint8)
    shallow = _shallow(net, image)
    inputs = {'state': shallow[-1]}
    run = _run_deep(net, shallow[-1])
    cached = {f'common_{i}': run.outputs[-1] for i in range(2)}
    decoders = {}
    for count in (1, 2):
        common = dict(list(cached.items())[:count])
        decoders[count] = export(_decode, {'feature': shallow[0], **common})
    return Graphs(
        shallow=export(_shallow, {'image': image}),
        deep=export(_deep, inputs, run.names),
        decoders=decoders,
        steps=run.steps,
        shapes={name: tuple(value.shape) for name, value in net.state_dict().items()},
        belongs_to=graph_key(net.config),
    )


def _shallow(net: DCFM, image: Tensor) -> list[Tensor]:
    """(1, H, W, 3) uint8 -> independent feature, and the state if that is another tensor."""
    scale, shift = (1 / (255 * net.std)).float(), (-net.mean / net.std).float()
    independent = net.encoder.shallow(image.permute(0, 3, 1, 2).float() * scale + shift)
    return [part.permute(0, 2, 3, 1) for part in dict.fromkeys(independent)]


class _Run(NamedTuple):
    """What the deep encoder computed, step by step."""

    outputs: list[Tensor]
    """All that one step leaves for another; the last is the projected common feature."""
    names: tuple[str, ...]
    """Of these."""
    steps: tuple[tuple[str, ...], ...]
    """Names of all that there is after each step."""


def _run_deep(net: DCFM, state: Tensor) -> _Run:
    image_state = state.permute(0, 3, 1, 2)
    known, outputs, steps = [('state', image_state)], [], []

    def name_of(tensor: Tensor) -> str:
        for name, other in known:
            if other is tensor:
                return name
        outputs.append(tensor)
        known.append((f'part_{len(outputs)}', tensor))
        return known[-1][0]

    deep = net.encoder.start(image_state)
    for step in net.encoder.deep_steps():
        deep = step(deep)
        steps.append(tuple(dict.fromkeys(map(name_of, (deep.x, *deep.stages)))))
    common = net.to_common(deep.x)
    if net.fuses_linearly:
        steps.append((name_of(common),))
        halves = split_fusion(net)
        common = F.conv2d(common, halves.common, halves.bias)
    names = tuple(name for name, _ in known[1:])
    last = common.permute(0, 2, 3, 1)
    return _Run([*outputs, last], (*names, 'common'), (*steps, ('common',)))


def _deep(net: DCFM, state: Tensor) -> list[Tensor]:
    """State -> what `_run_deep` names."""
    return _run_deep(net, state).outputs


def _decode(net: DCFM, feature: Tensor, *cached: Tensor) -> list[Tensor]:
    """Independent feature and one or two common features -> logits, (1, K, h, w)."""
    planes, commons = feature.permute(0, 3, 1, 2), [c.permute(0, 3, 1, 2) for c in cached]
    if net.fuses_linearly:
        return [decode(net, split_fusion(net), commons, planes)]
    independent = Independent(planes, planes)
    return [mean([net.classify(net.fuse(common, independent)) for common in commons])]
