"""The symmetric training loss of DCFM (paper Eq. 8 to 12).

Shapes: B batch, K classes, H W image, C_F common channels, h w feature grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.training.ablated_network import fuse
from dcfm_ros.training.pair_motion import PairMotion
from dcfm_ros.training.segmentation_losses import KINDS, ClassWeighting, segmentation_loss

DISTANCES = ('mse', 'l1')


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weights and kinds of the three terms; the defaults are those of the released code.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    keyframe: float = 1.0
    """Weight of the labelled frame's loss as a keyframe (L_I), at least 0."""
    nonkey: float = 0.4
    """Weight of the labelled frame's loss as a non-key frame (L_B; lambda 1), at least 0."""
    consistency: float = 10.0
    """Weight of the masked distance between the two frames' fused features (L_con; lambda 2), at
    least 0."""
    segmentation: str = 'ce'
    """L_I and L_B: 'ce' (cross-entropy), 'ce_dice' or 'ohem' (see `segmentation_losses`)."""
    distance: str = 'mse'
    """L_con: 'mse' or 'l1'."""

    def __post_init__(self) -> None:
        for name in ('keyframe', 'nonkey', 'consistency'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'`{name}` must be at least 0, got {getattr(self, name)}')
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
    keyframe_logits: Tensor
    """Labelled frame as a keyframe, (B, K, H, W)."""
    nonkey_logits: Tensor
    """Labelled frame as a non-key frame of the reference frame, (B, K, H, W)."""
    fused_labelled: Tensor
    """Fused feature of the labelled frame as a keyframe, (B, C_F, h, w)."""
    fused_nonkey: Tensor
    """Fused feature of the labelled frame as a non-key frame, (B, C_F, h, w)."""


def symmetric_loss(
    net: DCFM,
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
        motion: Of the pairs: L_B fuses the reference's common feature where its content is in the
            labelled frame, and L_con compares the frames there. None: where it was (the paper).
    """
    images = torch.cat([reference_image, labelled_image])
    independent = net.encode_independent(images)
    common_reference, common_labelled = net.encode_common(independent).chunk(2)
    (feature_reference, feature_labelled) = independent.feature.chunk(2)
    (state_reference, state_labelled) = independent.state.chunk(2)
    reference = Independent(feature_reference, state_reference)
    labelled = Independent(feature_labelled, state_labelled)

    # Three separate passes, in this order: batch norm and dropout see what the paper's code shows.
    fused_labelled = fuse(net, common_labelled, labelled, is_keyframe=True)
    fused_reference = fuse(net, common_reference, reference, is_keyframe=True)
    if motion is not None:
        common_reference, fused_reference = map(motion.align, (common_reference, fused_reference))
    fused_nonkey = fuse(net, common_reference, labelled, is_keyframe=False)
    nonkey_logits = net.classify(fused_nonkey)
    keyframe_logits = net.classify(fused_labelled)
    reference_logits = net.classify(fused_reference)

    mask = agreement_mask(keyframe_logits, reference_logits)
    size = (label.shape[-2], label.shape[-1])
    keyframe_logits = _upsample(keyframe_logits, size)
    nonkey_logits = _upsample(nonkey_logits, size)
    kind = options.segmentation
    keyframe = segmentation_loss(kind, keyframe_logits, label, weighting)
    nonkey = segmentation_loss(kind, nonkey_logits, label, weighting)
    consistency = consistency_loss(fused_labelled, fused_reference, mask, options.distance)
    return SymmetricLoss(
        total=options.keyframe * keyframe
        + options.nonkey * nonkey
        + options.consistency * consistency,
        keyframe=keyframe,
        nonkey=nonkey,
        consistency=consistency,
        agreement=mask.mean(),
        keyframe_logits=keyframe_logits,
        nonkey_logits=nonkey_logits,
        fused_labelled=fused_labelled,
        fused_nonkey=fused_nonkey,
    )


def keyframe_loss(
    net: DCFM,
    image: Tensor,
    label: Tensor,
    options: LossOptions,
    weighting: ClassWeighting | None = None,
) -> Tensor:
    """L_I alone, the frame as a keyframe (Eq. 8): the training of an image network.

    Half the work of `symmetric_loss`, whose value it has where the other terms weigh nothing;
    batch norm then sees the labelled frames only. Arguments are as there.
    """
    independent = net.encode_independent(image)
    common = net.encode_common(independent)
    logits = net.classify(fuse(net, common, independent, is_keyframe=True))
    logits = _upsample(logits, (label.shape[-2], label.shape[-1]))
    loss = segmentation_loss(options.segmentation, logits, label, weighting)
    return options.keyframe * loss


def agreement_mask(logits: Tensor, other_logits: Tensor) -> Tensor:
    """1.0 where both maps name the same class, on the feature grid, (B, 1, h, w) (Eq. 10)."""
    same = logits.argmax(dim=1, keepdim=True) == other_logits.argmax(dim=1, keepdim=True)
    return same.to(logits.dtype)


def consistency_loss(
    fused: Tensor, other_fused: Tensor, mask: Tensor, distance: str = 'mse'
) -> Tensor:
    """Mean distance of the masked features, over ALL elements (Eq. 11).

    Gradient flows to both sides; features are (B, C_F, h, w), the mask (B, 1, h, w).
    """
    difference = fused - other_fused
    if difference.dtype in (torch.float16, torch.bfloat16):
        difference = difference.float()  # a square of 1e-5 is 0 in half precision
    difference = difference.abs() if distance == 'l1' else difference.square()
    # Masking the sum over channels is the same and touches the large tensors half as often.
    return (mask * difference.sum(dim=1, keepdim=True)).sum() / fused.numel()


def _upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size, mode='bilinear', align_corners=False)
