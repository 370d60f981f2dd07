"""Optimiser and learning rates of a training (paper Table I)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

OPTIMIZERS = ('adamw', 'sgd')


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """Optimiser, its rates and their course.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    optimizer: str = 'adamw'
    """'adamw' or 'sgd'."""
    lr: float = 1e-3
    """Learning rate of the encoder at the end of the warm-up."""
    decoder_lr: float | None = None
    """The same for projection, fusion and head, or the decoder of another library's network; None:
    that of the encoder. The all-MLP fuse is part of the encoder, as in the paper's code."""
    weight_decay: float = 0.01
    decay_vectors: bool = False
    """Decay biases and normalisation weights too, as the paper's code does."""
    momentum: float = 0.9
    """Of SGD."""
    warmup_steps: int = 1500
    """Optimiser steps of linear rise; cut to a tenth of a shorter training."""
    power: float = 1.0
    """Exponent of the poly decay, at least 0."""
    min_lr: float = 0.0
    """Learning rate at the end."""

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            msg = f'one of {", ".join(OPTIMIZERS)}, got {self.optimizer!r}'
            raise ValueError(f'`optimizer` must be {msg}')
        for name in ('lr', 'decoder_lr'):
            value = getattr(self, name)
            if value is not None and not value > self.min_lr:
                raise ValueError(f'`{name}` must be above `min_lr` ({self.min_lr}), got {value}')
        for name in ('weight_decay', 'momentum', 'warmup_steps', 'power', 'min_lr'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'`{name}` must be at least 0, got {getattr(self, name)}')

    def build(
        self, net: nn.Module, total_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """The optimiser of a network, and its schedule, to be stepped once per optimiser step."""
        encoder, decoder = (
            [p for name, p in net.named_parameters() if name.startswith('encoder.') == is_encoder]
            for is_encoder in (True, False)
        )
        decoder_lr = self.lr if self.decoder_lr is None else self.decoder_lr
        groups: list[dict[str, Any]] = [
            {'params': chosen, 'lr': lr, 'weight_decay': decay}
            for parameters, lr in ((encoder, self.lr), (decoder, decoder_lr))
            for chosen, decay in self._by_decay(parameters)
            if chosen
        ]
        optimizer: torch.optim.Optimizer
        if self.optimizer == 'sgd':
            optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum)
        else:
            optimizer = torch.optim.AdamW(groups, lr=self.lr)
        factors = [_factor(self, float(group['lr']), max(total_steps, 1)) for group in groups]
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factors)

    def _by_decay(
        self, parameters: list[nn.Parameter]
    ) -> tuple[tuple[list[nn.Parameter], float], ...]:
        if self.decay_vectors:
            return ((parameters, self.weight_decay),)
        return (
            ([p for p in parameters if p.ndim > 1], self.weight_decay),
            ([p for p in parameters if p.ndim <= 1], 0.0),
        )


def _factor(options: Optimisation, base_lr: float, total_steps: int) -> Callable[[int], float]:
    """The learning rate of one group by step, as a factor of its own base rate."""

    # A function, not an object: the schedule would put an object's state into the checkpoint.
    def factor(step: int) -> float:
        warmup = min(options.warmup_steps, total_steps // 10)
        course = {'power': options.power, 'min_lr': options.min_lr}
        lr = poly_with_warmup(
            step, base_lr=base_lr, total_steps=total_steps, warmup_steps=warmup, **course
        )
        return lr / base_lr

    return factor


def poly_with_warmup(
    step: int,
    *,
    base_lr: float,
    total_steps: int,
    warmup_steps: int = 1500,
    power: float = 1.0,
    min_lr: float = 0.0,
) -> float:
    """The learning rate of one optimiser step: linear warm-up, then polynomial decay to a floor.

    Args:
        step: Completed optimiser steps: 0 for the first update.
        base_lr: Learning rate at the end of the warm-up.
        total_steps: Steps of the whole training; from there on the rate stays at `min_lr`.
        warmup_steps: Steps of linear rise from 1e-6 * `base_lr`, below `total_steps`; 0: none.
        power: Exponent of the decay, 1 = linear.
        min_lr: Learning rate at `total_steps`.
    """
    if step < warmup_steps:
        return base_lr * ((1 - 1e-6) * step / warmup_steps + 1e-6)
    progress = min((step - warmup_steps) / (total_steps - warmup_steps), 1.0)
    return float((base_lr - min_lr) * (1 - progress) ** power + min_lr)
