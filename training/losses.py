"""The symmetric training loss of DCFM (paper Eq. 8 to 12).

Shapes: B batch, C channels, K classes, H W image, h w feature grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.staged import StagedNetwork, mean
from dcfm_ros.training.pair_motion import PairMotion
from dcfm_ros.training.pair_network import as_pair_network, halves, resized
from dcfm_ros.training.segmentation_losses import KINDS, ClassWeighting, segmentation_loss

DISTANCES = ('mse', 'l1')


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights and kinds of the three terms; the defaults are those of the released code.

    Raises:
        ValueError: If a value is outside what its field says, or all weights are 0.
    """

    keyframe: float = 1.0
    """Weight of the labelled frame's loss as a keyframe (L_I), at least 0."""
    nonkey: float = 0.4
    """Weight of the labelled frame's loss as a non-key frame (L_B; lambda 1), at least 0."""
    consistency: float = 10.0
    """Weight of the masked distance between the two frames' fused features (L_con; lambda 2), at
    least 0. Of a network of another library: between their deep features, normalised; the mean
    over these."""
    segmentation: str = 'ce'
    """L_I and L_B: 'ce' (cross-entropy), 'ce_dice' or 'ohem' (see `segmentation_losses`)."""
    distance: str = 'mse'
    """L_con: 'mse' or 'l1'."""

    def __post_init__(self) -> None:
        names = ('keyframe', 'nonkey', 'consistency')
        for name in names:
            if not getattr(self, name) >= 0:
                raise ValueError(f'`{name}` must be at least 0, got {getattr(self, name)}')
        if not any(getattr(self, name) for name in names):
            raise ValueError('one of `keyframe`, `nonkey`, `consistency` must be above 0, got 0s')
        for name, allowed in (('segmentation', KINDS), ('distance', DISTANCES)):
            if getattr(self, name) not in allowed:
                got = repr(getattr(self, name))
                raise ValueError(f'`{name}` must be one of {", ".join(allowed)}, got {got}')

    @property
    def needs_reference(self) -> bool:
        """Whether any term looks at the reference frame."""
        return self.nonkey > 0 or self.consistency > 0


@dataclass(frozen=True, kw_only=True)
class SymmetricLoss:
    """The loss of one batch of pairs; every number is a scalar tensor."""

    total: Tensor
    keyframe: Tensor
    nonkey: Tensor
    consistency: Tensor
    agreement: Tensor
    """Share of the feature grid on which both frames are given the same class, in [0, 1]."""


def symmetric_loss(
    net: DCFM | StagedNetwork,
    reference_image: Tensor,
    labelled_image: Tensor,
    label: Tensor,
    options: LossOptions,
    weighting: ClassWeighting | None = None,
    motion: PairMotion | None = None,
) -> SymmetricLoss:
    """Both roles of the labelled frame, and the agreement of the pair.

    The network sees the frame as a keyframe, and as a non-key frame whose keyframe is the
    reference frame. The reference frame has no label; it is held to the labelled one only through
    the consistency term.

    Args:
        net: The network to train.
        reference_image: RGB in [0, 1], (B, 3, H, W).
        labelled_image: RGB in [0, 1], (B, 3, H, W).
        label: Class ids of the labelled frame, int64, (B, H, W), as in `segmentation_loss`.
        options: Weights and kinds of the terms.
        weighting: Of the pixels in L_I and L_B.
        motion: Of the pairs: L_B fuses the reference's deep features where their content is in
            the labelled frame, and L_con compares the frames there. None: where it was (the
            paper).
    """
    parts = as_pair_network(net)
    independent = parts.encode(torch.cat([reference_image, labelled_image]))
    deep = [feature.chunk(2) for feature in parts.deep(independent)]
    deep_reference, deep_labelled = (tuple(pair[i] for pair in deep) for i in (0, 1))
    reference, labelled = halves(independent)

    # Three separate passes, in this order: batch norm and dropout see what the paper's code shows.
    fused_labelled = parts.fuse(deep_labelled, labelled, is_keyframe=True)
    fused_reference = parts.fuse(deep_reference, reference, is_keyframe=True)
    if motion is not None:
        deep_reference = tuple(map(motion.align, deep_reference))
        fused_reference = fused_reference.moved(motion.align)
    fused_nonkey = parts.fuse(deep_reference, labelled, is_keyframe=False)
    nonkey_logits = parts.classify(fused_nonkey)
    keyframe_logits = parts.classify(fused_labelled)
    reference_logits = parts.classify(fused_reference)

    mask = agreement_mask(keyframe_logits, reference_logits)
    size = (label.shape[-2], label.shape[-1])
    kind = options.segmentation
    keyframe = segmentation_loss(kind, resized(keyframe_logits, size), label, weighting)
    nonkey = segmentation_loss(kind, resized(nonkey_logits, size), label, weighting)
    compared = parts.compared(fused_labelled), parts.compared(fused_reference)
    pairs = zip(*compared, strict=True)
    consistency = mean([consistency_loss(*pair, mask, options.distance) for pair in pairs])
    return SymmetricLoss(
        total=options.keyframe * keyframe
        + options.nonkey * nonkey
        + options.consistency * consistency,
        keyframe=keyframe,
        nonkey=nonkey,
        consistency=consistency,
        agreement=mask.mean(),
    )


def keyframe_loss(
    net: DCFM | StagedNetwork,
    image: Tensor,
    label: Tensor,
    options: LossOptions,
    weighting: ClassWeighting | None = None,
) -> Tensor:
    """L_I alone, the frame as a keyframe (Eq. 8): the training of an image network.

    Half the work of `symmetric_loss`, whose value it has where the other terms weigh nothing;
    batch norm then sees the labelled frames only. Arguments are as there.
    """
    parts = as_pair_network(net)
    independent = parts.encode(image)
    fused = parts.fuse(parts.deep(independent), independent, is_keyframe=True)
    logits = parts.decode(fused, (label.shape[-2], label.shape[-1]))
    loss = segmentation_loss(options.segmentation, logits, label, weighting)
    return options.keyframe * loss


def agreement_mask(logits: Tensor, other_logits: Tensor) -> Tensor:
    """1.0 where both maps name the same class, on their grid, (B, 1, h, w) (Eq. 10)."""
    same = logits.argmax(dim=1, keepdim=True) == other_logits.argmax(dim=1, keepdim=True)
    return same.to(logits.dtype)


def consistency_loss(
    fused: Tensor, other_fused: Tensor, mask: Tensor, distance: str = 'mse'
) -> Tensor:
    """Mean distance of the masked features, over ALL elements (Eq. 11).

    Gradient flows to both sides; features are (B, C, h, w), the mask (B, 1, h, w). If it is on a
    finer grid, its mean over each place of the features counts.
    """
    if mask.shape[-2:] != fused.shape[-2:]:
        mask = F.interpolate(mask, fused.shape[-2:], mode='area')
    difference = fused - other_fused
    if difference.dtype in (torch.float16, torch.bfloat16):
        difference = difference.float()  # a square of 1e-5 is 0 in half precision
    difference = difference.abs() if distance == 'l1' else difference.square()
    # Masking the sum over channels is the same and touches the large tensors half as often.
    return (mask * difference.sum(dim=1, keepdim=True)).sum() / fused.numel()
