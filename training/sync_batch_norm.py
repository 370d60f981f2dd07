"""Batch norm with the statistics of the batch of all processes, on any device and backend.

torch.nn.SyncBatchNorm trains on CUDA only, and its conversion loses the activation that timm
keeps inside a batch norm. Keys of the state dict do not change, so that what is trained loads
into the plain network.

Shapes: B batch, C channels.
"""

from __future__ import annotations

from typing import Any, TypeVar

from timm.layers import BatchNormAct2d
import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

Net = TypeVar('Net', bound=nn.Module)


class SyncBatchNorm(_BatchNorm):
    """As the plain batch norm, but one in training shares its statistics with the others.

    Every process must run it equally often; how many images each has does not matter.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape and dtype."""
        if not (self.training and _num_processes() > 1):
            return super().forward(x)
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean, scale = (value.view(shape) for value in self._statistics(x))
        if self.affine:
            scale = scale * self.weight.view(shape)
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias.view(shape)
        return torch.addcmul(shift, x.to(scale.dtype), scale).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and 1 / standard deviation of every channel, (C,) each; counts them too."""
        precise = x if x.dtype == torch.float64 else x.float()
        own_var, own_mean = torch.var_mean(precise, dim=(0, *range(2, x.ndim)), correction=0)
        own_count = own_mean.new_full((1,), x.numel() / x.shape[1])
        sums = _SumOverProcesses.apply(torch.cat([own_mean * own_count, own_count]))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        # Around the common mean, in a second round: E[x^2] - E[x]^2 would lose its digits.
        squares = (own_var + (own_mean - mean).square()) * own_count
        var = _SumOverProcesses.apply(squares) / count
        if self.track_running_stats:
            self._remember(mean.detach(), var.detach(), count.detach())
        return mean, torch.rsqrt(var + self.eps)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = var * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), weight)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)

    def _check_input_dim(self, input: Tensor) -> None:
        """One class for all numbers of dimensions."""


class SyncBatchNormAct(SyncBatchNorm):
    """The same with the dropout and activation of timm's `BatchNormAct2d`."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape and dtype."""
        return self.act(self.drop(super().forward(x)))


def convert_batch_norms(net: Net) -> Net:
    """Synchronise all batch norms of a network, in place.

    Args:
        net: Any network; batch norms that are already synchronised stay as they are.

    Returns:
        The same network.

    Raises:
        ValueError: If it has a kind of batch norm that is not known here.
    """
    kinds: dict[type, type[SyncBatchNorm]] = {
        nn.BatchNorm1d: SyncBatchNorm,
        nn.BatchNorm2d: SyncBatchNorm,
        nn.BatchNorm3d: SyncBatchNorm,
        BatchNormAct2d: SyncBatchNormAct,
    }
    norms = [
        (name, module)
        for name, module in net.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm)
    ]
    if unknown := [f'{name}: {type(m).__name__}' for name, m in norms if type(m) not in kinds]:
        known = ', '.join(kind.__name__ for kind in kinds)
        raise ValueError(f'`net` must have no batch norms but {known}, got {unknown}')
    for _, module in norms:
        # Its class alone: weights, buffers and whoever refers to the module stay what they are.
        module.__class__ = kinds[type(module)]
    return net


class _SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes; so is the gradient, as every process used the sum."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def _num_processes() -> int:
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1
    return distributed.get_world_size()
