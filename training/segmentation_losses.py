"""Losses of one logit map against its label (paper Eq. 8, 9 and the rows of Table VII).

Shapes: B batch, K classes, H W image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributed
import torch.nn.functional as F

from dcfm_ros.models.labels import UNLABELLED

KINDS = ('ce', 'ce_dice', 'ohem')

OHEM_THRESHOLD = -math.log(0.7)
"""Loss of a pixel whose class has a probability of .7: the ones above it are hard."""
OHEM_MIN_SHARE = 16
"""At least one pixel in this many counts as hard."""


def segmentation_loss(
    kind: str, logits: Tensor, label: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """The loss of that kind.

    Args:
        kind: 'ce', 'ce_dice' (the sum of both) or 'ohem'.
        logits: (B, K, H, W).
        label: Class ids, int64, (B, H, W); 255 is ignored.
        class_weights: One weight per class of the cross-entropies, (K,); None: all 1.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind == 'ce':
        return cross_entropy(logits, label, class_weights)
    if kind == 'ce_dice':
        return cross_entropy(logits, label, class_weights) + generalised_dice(logits, label)
    if kind == 'ohem':
        return ohem_cross_entropy(logits, label, class_weights)
    raise ValueError(f'`kind` must be one of {", ".join(KINDS)}, got {kind!r}')


def cross_entropy(logits: Tensor, label: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the labelled pixels; 0 where there is none (Eq. 8, 9).

    In distributed training it is the mean over the labelled pixels of ALL processes, times their
    number: averaged over processes, as gradients are, it is what one process would compute from
    the whole batch.
    With class weights, (K,), the mean is the weighted one. Shapes as in `segmentation_loss`.
    """
    losses = F.cross_entropy(
        logits, label, weight=class_weights, ignore_index=UNLABELLED, reduction='sum'
    )
    labelled = label != UNLABELLED
    total = labelled.sum() if class_weights is None else class_weights[label[labelled]].sum()
    total = _mean_over_processes(total.to(losses.dtype))
    # The sum is 0 where everything is ignored; so is then the loss, and its gradient.
    return losses / torch.where(total > 0, total, torch.ones_like(total))


def ohem_cross_entropy(
    logits: Tensor, label: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over the hard pixels, as in the paper's code (spec 3.2).

    Hard are the pixels above `OHEM_THRESHOLD`, and at least the worst sixteenth of all pixels.
    Ignored pixels take part as pixels of loss 0. Each process chooses among its own pixels.
    Shapes as in `segmentation_loss`.
    """
    losses = F.cross_entropy(
        logits, label, weight=class_weights, ignore_index=UNLABELLED, reduction='none'
    )
    losses, _ = losses.flatten().sort(descending=True)
    least = losses.numel() // OHEM_MIN_SHARE
    if losses[least] > OHEM_THRESHOLD:
        return losses[losses > OHEM_THRESHOLD].mean()
    return losses[: max(least, 1)].mean()


def generalised_dice(logits: Tensor, label: Tensor) -> Tensor:
    """1 minus the generalised Dice overlap of class probabilities and label, in [0, 1].

    Classes weigh 1 / (pixels of the class)^2 (Sudre et al. 2017, which the paper cites without
    saying more); a class without a labelled pixel in the batch has no weight. Each process looks
    at its own part of the batch. 0 where nothing is labelled.
    Shapes as in `segmentation_loss`.
    """
    num_classes = logits.shape[1]
    labelled = label != UNLABELLED
    probability = logits.float().softmax(dim=1).movedim(1, -1)[labelled]  # (pixels, K)
    truth = F.one_hot(label[labelled], num_classes).to(probability.dtype)
    pixels = truth.sum(dim=0)
    weight = torch.where(pixels > 0, 1 / pixels.clamp(min=1).square(), torch.zeros_like(pixels))
    overlap = (weight * (probability * truth).sum(dim=0)).sum()
    total = (weight * (probability.sum(dim=0) + pixels)).sum()
    return torch.where(total > 0, 1 - 2 * overlap / total.clamp(min=1e-30), total)


def _mean_over_processes(value: Tensor) -> Tensor:
    """A count per process, where there are several; the gradients are averaged over them too."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    value = value.clone()
    distributed.all_reduce(value)
    return value / distributed.get_world_size()
