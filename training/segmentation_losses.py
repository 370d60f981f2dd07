"""Losses of one logit map against its label (paper Eq. 8, 9 and the rows of Table VII).

Shapes: B batch, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
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
    kind: str, logits: Tensor, label: Tensor, weighting: ClassWeighting | None = None
) -> Tensor:
    """The loss of that kind.

    Args:
        kind: 'ce', 'ce_dice' (the sum of both) or 'ohem'.
        logits: (B, K, H, W).
        label: Class ids, int64, (B, H, W); K + i is the set number i of `weighting`, 255 is
            ignored.
        weighting: What a pixel's label stands for and weighs; None: a class, and 1.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind == 'ce':
        return cross_entropy(logits, label, weighting)
    if kind == 'ce_dice':
        return cross_entropy(logits, label, weighting) + generalised_dice(logits, label)
    if kind == 'ohem':
        return ohem_cross_entropy(logits, label, weighting)
    raise ValueError(f'`kind` must be one of {", ".join(KINDS)}, got {kind!r}')


@dataclass(frozen=True, eq=False)
class ClassWeighting:
    """What the ids of a label stand for, and what a pixel of each weighs."""

    weights: Tensor
    """Weight of every id that a label can hold, (256,): K classes, S sets, 0 for all others."""
    members: Tensor
    """Which classes a set has, bool, (S, K)."""

    @classmethod
    def of(
        cls,
        num_classes: int,
        weights: Sequence[float] | None = None,
        sets: Sequence[Sequence[int]] = (),
    ) -> ClassWeighting:
        """The weighting of K classes and of sets of them; a set weighs the mean of its classes.

        Raises:
            ValueError: If there is not one weight per class, at least 0 and finite, or all are 0.
        """
        if weights is not None and len(weights) != num_classes:
            msg = f'one weight per class ({num_classes}), got {len(weights)}'
            raise ValueError(f'`class_weights` must be {msg}')
        if weights is not None and not (
            all(0 <= weight < math.inf for weight in weights) and any(weights)
        ):
            msg = f'at least 0, finite, and not all 0, got {list(weights)}'
            raise ValueError(f'`class_weights` must be {msg}')
        table = torch.zeros(256)
        table[:num_classes] = 1.0 if weights is None else torch.tensor(weights)
        members = torch.zeros((len(sets), num_classes), dtype=torch.bool)
        for index, classes in enumerate(map(list, sets)):
            members[index, classes] = True
            table[num_classes + index] = table[classes].mean()
        return cls(table, members)

    def like(self, tensor: Tensor) -> ClassWeighting:
        """The same with the type and on the device of a tensor."""
        return ClassWeighting(self.weights.to(tensor), self.members.to(tensor.device))


def cross_entropy(
    logits: Tensor, label: Tensor, weighting: ClassWeighting | None = None
) -> Tensor:
    """Mean cross-entropy over the labelled pixels; 0 where there is none (Eq. 8, 9).

    Of a pixel whose label is a set of classes it is minus the log of their summed probabilities.
    In distributed training it is the mean over the labelled pixels of ALL processes, times their
    number: averaged over processes, as gradients are, it is what one process would compute from
    the whole batch.
    With weights the mean is the weighted one. Shapes as in `segmentation_loss`.
    """
    losses = _pixel_losses(logits, label, weighting)
    # A sum over an image is beyond float16, and a count of its pixels too.
    dtype = torch.promote_types(losses.dtype, torch.float32)
    total_loss = losses.sum(dtype=dtype)
    counted = label != UNLABELLED if weighting is None else weighting.weights[label]
    total = _mean_over_processes(counted.sum(dtype=dtype))
    # The sum is 0 where everything is ignored; so is then the loss, and its gradient.
    return (total_loss / torch.where(total > 0, total, torch.ones_like(total))).to(losses.dtype)


def _pixel_losses(logits: Tensor, label: Tensor, weighting: ClassWeighting | None) -> Tensor:
    """Weighted loss of every pixel, 0 where it is ignored, (B, H, W)."""
    num_classes = logits.shape[1]
    weights = None if weighting is None else weighting.weights[:num_classes]
    of_classes = partial(
        F.cross_entropy, logits, weight=weights, ignore_index=UNLABELLED, reduction='none'
    )
    if weighting is None or not len(weighting.members):
        return of_classes(label)
    is_set = (label >= num_classes) & (label != UNLABELLED)
    losses = of_classes(label.masked_fill(is_set, UNLABELLED))
    ids, chosen = label[is_set], logits.movedim(1, -1)[is_set]  # (pixels, K)
    if chosen.dtype in (torch.float16, torch.bfloat16):
        chosen = chosen.float()  # the difference of two large sums would be lost
    inside = chosen.masked_fill(~weighting.members[ids - num_classes], -math.inf)
    of_sets = weighting.weights[ids] * (chosen.logsumexp(-1) - inside.logsumexp(-1))
    return losses.masked_scatter(is_set, of_sets.to(losses.dtype))


def ohem_cross_entropy(
    logits: Tensor, label: Tensor, weighting: ClassWeighting | None = None
) -> Tensor:
    """Mean cross-entropy over the hard pixels, as in the paper's code (spec 3.2).

    Hard are the pixels above `OHEM_THRESHOLD`, and at least the worst sixteenth of all pixels.
    Ignored pixels take part as pixels of loss 0. Each process chooses among its own pixels.
    Shapes as in `segmentation_loss`.
    """
    losses = _pixel_losses(logits, label, weighting)
    losses, _ = losses.flatten().sort(descending=True)
    least = losses.numel() // OHEM_MIN_SHARE
    if losses[least] > OHEM_THRESHOLD:
        return losses[losses > OHEM_THRESHOLD].mean()
    return losses[: max(least, 1)].mean()


def generalised_dice(logits: Tensor, label: Tensor) -> Tensor:
    """1 minus the generalised Dice overlap of class probabilities and label, in [0, 1].

    Classes weigh 1 / (pixels of the class)^2 (Sudre et al. 2017, which the paper cites without
    saying more); a class without a labelled pixel in the batch has no weight. Each process looks
    at its own part of the batch. 0 where nothing is labelled; a set of classes is no label here.
    Shapes as in `segmentation_loss`.
    """
    num_classes = logits.shape[1]
    labelled = label < num_classes
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
