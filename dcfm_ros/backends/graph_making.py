"""From a network in PyTorch to `Graphs`: in a second, and good for every image size.

Shapes: H W image, h w grid; features have their channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from dcfm_ros.backends.graphs import Graphs, Model, UntranslatableError, graph_key
from dcfm_ros.backends.onnx_graph import to_onnx
from dcfm_ros.backends.split_fusion import as_staged
from dcfm_ros.backends.stages import Stage, normalising, tensors_of
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork


@torch.no_grad()
def make_graphs(net: DCFM | StagedNetwork) -> Graphs:
    """The stages of a network, without its weights.

    Args:
        net: The network, float32, in eval mode.

    Raises:
        ImportError: If ONNX is not installed, which PyTorch's exporter needs.
        UntranslatableError: If the exporter cannot translate the network.
    """
    if find_spec('onnx') is None:
        raise ImportError("No module named 'onnx'")

    staged = as_staged(net)

    def export(stage: Stage, inputs: dict[str, Tensor], outputs: Sequence[str] = ()) -> Model:
        run = partial(stage, staged)
        try:
            return Model(to_onnx(net, run, inputs, outputs, is_for_any_size=True))
        except Exception as error:  # whatever the exporter may raise
            raise UntranslatableError(str(error)) from error

    # Larger than the smallest, and no square, so that nothing is taken for the other.
    rows, columns = staged.least_size + 32, staged.least_size + 64
    image = torch.zeros(1, rows, columns, 3, dtype=torch.uint8)
    found = _shallow(staged, image)
    seen = {name: _last(tensor) for name, tensor in found.by_name().items()}
    inputs = dict(seen)
    if 'state' not in inputs:
        inputs['state'] = inputs.pop('feature')
    deep = _run_deep(staged, found)
    names = [name for name in seen if name != 'state']
    decoders = {}
    for count in (1, 2):
        cached = {
            f'keyframe_{number}_{index}': _last(one)
            for number in range(count)
            for index, one in enumerate(deep.common)
        }
        given = {name: seen[name] for name in names} | cached
        decode = partial(_decode, num_skips=len(names) - 1, num_keyframes=count)
        decoders[count] = export(decode, given)
    return Graphs(
        shallow=export(_shallow_stage, {'image': image}, tuple(seen)),
        deep=export(partial(_deep, names=tuple(inputs)), inputs, deep.names),
        decoders=decoders,
        steps=deep.steps,
        shapes={name: tuple(value.shape) for name, value in net.state_dict().items()},
        belongs_to=graph_key(net.config),
    )


def _shallow(net: StagedNetwork, image: Tensor) -> Independent:
    return net.shallow(normalising(net)(image))


def _shallow_stage(net: StagedNetwork, image: Tensor) -> list[Tensor]:
    """(1, H, W, 3) uint8 -> what `Independent.by_name` names."""
    return [_last(part) for part in _shallow(net, image).by_name().values()]


class _Run(NamedTuple):
    """What the deep encoder computed, step by step."""

    common: tuple[Tensor, ...]
    """The common feature."""
    parts: list[Tensor]
    """All that one step leaves for another."""
    names: tuple[str, ...]
    """Of the parts and the common feature."""
    steps: tuple[tuple[str, ...], ...]
    """Names of all that there is after each step, beside what the shallow encoder found."""


def _run_deep(net: StagedNetwork, found: Independent) -> _Run:
    known = [(n, tensor) for n, tensor in found.by_name().items() if n != 'feature']
    known += [('state', found.feature)] if found.state is found.feature else []
    given = {name for name, _ in known}
    parts: list[Tensor] = []
    steps = []

    def name_of(tensor: Tensor) -> str:
        for name, other in known:
            if other is tensor:
                return name
        parts.append(tensor)
        known.append((f'part_{len(parts)}', tensor))
        return known[-1][0]

    deep = net.start(found)
    for step in net.deep_steps():
        deep = step(deep)
        left = dict.fromkeys(map(name_of, tensors_of(deep)))
        steps.append(tuple(name for name in left if name not in given))
    common = net.to_cached(deep)
    last = tuple(f'common_{index}' for index in range(len(common)))
    names = tuple(name for name, _ in known if name not in given)
    return _Run(common, parts, (*names, *last), (*steps, last))


def _deep(net: StagedNetwork, *inputs: Tensor, names: Sequence[str]) -> list[Tensor]:
    """What the shallow encoder found -> what `_run_deep` names."""
    tensors = dict(zip(names, map(_planes, inputs), strict=True))
    tensors.setdefault('feature', tensors['state'])
    if 'feature' not in names:
        del tensors['state']
    run = _run_deep(net, Independent.from_names(tensors))
    return [*run.parts, *map(_last, run.common)]


def _decode(
    net: StagedNetwork, feature: Tensor, *others: Tensor, num_skips: int, num_keyframes: int
) -> list[Tensor]:
    """Independent feature, skips, and common features of keyframes -> logits, (1, K, h, w)."""
    planes, *rest = map(_planes, (feature, *others))
    cached = rest[num_skips:]
    each = len(cached) // num_keyframes
    commons = [cached[i * each : (i + 1) * each] for i in range(num_keyframes)]
    return [net.decode_all(commons, Independent(planes, planes, tuple(rest[:num_skips])))]


def _last(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1)


def _planes(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2)
