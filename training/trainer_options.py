"""What the options of Lightning's Trainer must be for a training of this package."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler


def check_trainer(trainer: Trainer) -> None:
    """Refuse what would train wrongly without saying so.

    Raises:
        ValueError: If the precision is 16-true, or the accumulated batches change on the way.
    """
    if trainer.precision == '16-true':
        msg = 'gradients and steps of the optimiser are lost in float16'
        why = f'16-mixed, bf16-mixed or bf16-true instead of 16-true: {msg}'
        raise ValueError(f'`trainer.precision` must be {why}')
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler) and len(callback.scheduling) > 1:
            # Which pairs come next follows from the steps so far and one number of batches each.
            msg = f'one number for the whole training, got {callback.scheduling} (epoch: batches)'
            raise ValueError(f'`trainer.accumulate_grad_batches` must be {msg}')


def number_of_steps(trainer: Trainer) -> int:
    """Optimiser steps of the whole training, over which the learning rate falls.

    Raises:
        ValueError: If they have no end but a time.
    """
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps):
        msg = f'at least one above 0, got {trainer.max_steps} and {trainer.max_epochs}'
        why = 'the learning rate falls over these; `max_time` may end the training earlier'
        raise ValueError(f'of `trainer.max_steps` and `max_epochs` {msg}: {why}')
    return int(steps)
