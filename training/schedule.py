"""Learning rate of the paper's code: linear warm-up, then polynomial decay to a floor."""

from __future__ import annotations


def poly_with_warmup(
    step: int,
    *,
    base_lr: float,
    total_steps: int,
    warmup_steps: int = 1500,
    power: float = 1.0,
    min_lr: float = 0.0,
) -> float:
    """The learning rate of one optimiser step.

    Args:
        step: Completed optimiser steps: 0 for the first update.
        base_lr: Learning rate at the end of the warm-up.
        total_steps: Steps of the whole training; from there on the rate stays at `min_lr`.
        warmup_steps: Steps of linear rise from 1e-6 * `base_lr`; 0 switches the warm-up off.
        power: Exponent of the decay, 1 = linear.
        min_lr: Learning rate at `total_steps`.

    Raises:
        ValueError: If `warmup_steps` is not below `total_steps`.
    """
    if not 0 <= warmup_steps < total_steps:
        msg = f'from 0 to below `total_steps` ({total_steps})'
        raise ValueError(f'`warmup_steps` must be {msg}, got {warmup_steps}')
    if step < warmup_steps:
        return base_lr * ((1 - 1e-6) * step / warmup_steps + 1e-6)
    progress = min((step - warmup_steps) / (total_steps - warmup_steps), 1.0)
    return float((base_lr - min_lr) * (1 - progress) ** power + min_lr)
