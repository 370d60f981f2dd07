"""Batch-norm folding: at inference a BN is an affine map, which the convolution before absorbs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def fold_batch_norms(net: nn.Module, run: Callable[[], object]) -> None:
    """Fold every batch norm that directly follows a convolution, in place.

    One forward pass shows which convolution feeds which batch norm, so that this works for any
    network, whatever its modules are called.

    Args:
        net: Network in eval mode; its batch norms are replaced by their activation, or nothing.
        run: Runs one forward pass of `net`.
    """
    pairs: list[tuple[nn.Conv2d, str, nn.BatchNorm2d]] = []
    producers: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # keeps the tensors, so ids stay unique
    names = {module: name for name, module in net.named_modules()}
    calls: dict[nn.Module, int] = {}

    def after_conv(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        producers[id(output)] = (module, output)

    def before_norm(module: Any, inputs: tuple[Tensor, ...]) -> None:
        if producer := producers.get(id(inputs[0])):
            pairs.append((producer[0], names[module], module))

    hooks = []
    for module in names:
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(after_conv))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    for conv, name, norm in pairs:
        if calls[conv] > 1:  # a convolution used twice may feed something else as well
            continue
        weight, bias = folded_weights(conv.weight, conv.bias, norm)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        conv.bias = nn.Parameter(bias, requires_grad=False)
        # timm's BatchNormAct2d carries the activation that follows it.
        rest = [getattr(norm, part) for part in ('drop', 'act') if hasattr(norm, part)]
        parent, _, child = name.rpartition('.')
        setattr(net.get_submodule(parent), child, nn.Sequential(*rest))


def folded_weights(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that equals `norm` after the given convolution."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # float64, so that folding adds no rounding of its own beyond the final one.
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.double() - norm.running_mean.double() * scale
    if bias is not None:
        shift = shift + bias.double() * scale
    scaled = weight.double() * scale.view(-1, 1, 1, 1)
    return scaled.to(weight.dtype), shift.to(weight.dtype)
