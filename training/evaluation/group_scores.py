"""Accuracy in groups of classes, from the counts of the classes.

Shapes: K classes, G groups.
"""

from __future__ import annotations

import math

import numpy as np

from dcfm_ros.masks.groups import ClassGroups
from dcfm_ros.training.metrics import ConfusionMatrix


def group_figures(confusion: ConfusionMatrix, groups: ClassGroups) -> dict[str, object]:
    """Mean IoU and IoUs of groups of the K classes.

    A pixel whose label is a class of no group is not a miss, but it is a false alarm of the group
    that it was taken for.

    Returns:
        'group_miou', with groups that no label has at 0, as the mean over classes has classes;
        'group_miou_labelled' without them; and 'group_iou' by name, None for a group that neither
        a label nor a prediction has. Fractions in [0, 1], None before any labelled pixel.
    """
    is_member = np.stack(  # (G, K)
        [groups.table[: confusion.num_classes] == group for group in range(len(groups.names))]
    ).astype(np.int64)
    hits = np.einsum('gk,kl,gl->g', is_member, confusion.counts, is_member)
    labelled = is_member @ confusion.label_pixels()
    unions = labelled + is_member @ confusion.counts.sum(axis=1) - hits
    ious = [
        hit / union if union else math.nan
        for hit, union in zip(hits.tolist(), unions.tolist(), strict=True)
    ]
    is_counted = bool(confusion.label_pixels().any())
    present = [iou for iou, pixels in zip(ious, labelled.tolist(), strict=True) if pixels]
    all_of_them = [0.0 if math.isnan(iou) else iou for iou in ious]
    return {
        'group_miou': sum(all_of_them) / len(ious) if is_counted else None,
        'group_miou_labelled': sum(present) / len(present) if present else None,
        'group_iou': {
            name: None if math.isnan(iou) else iou
            for name, iou in zip(groups.names, ious, strict=True)
        },
    }
