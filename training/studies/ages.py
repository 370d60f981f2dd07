"""Loss and accuracy of non-key frames by the age of their keyframe.

Shapes: N frames of a clip, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dcfm_ros.backends.torch_warp import warp
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.keyframes.motion import FlowChain, Picture
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.metrics import ConfusionMatrix
from dcfm_ros.training.pair_network import Features, as_pair_network
from dcfm_ros.training.segmentation_losses import ClassWeighting, cross_entropy


@torch.inference_mode()
def loss_by_age(
    net: DCFM | StagedNetwork,
    clips: Sequence[Clip],
    ages: Sequence[int],
    height: int | None = None,
) -> dict[int, dict[str, float]]:
    """Segment every labelled frame with the deep features of the frame `age` frames before it.

    They are moved as the engine does it if the network asks for that (`motion: flow`).

    Args:
        net: In eval mode.
        clips: Frames with a label, and frames before them.
        ages: In frames of the clip, from 0 (every frame its own keyframe).
        height: Images are shrunk to it; None: they are left as they are.

    Returns:
        By age: 'loss' (mean cross-entropy over labelled pixels, nats), 'miou' in [0, 1] over those
        of one class, and 'frames'.

    Raises:
        ValueError: If an age is negative, or no labelled frame has a frame that far before it.
    """
    if not ages or min(ages) < 0:
        raise ValueError(f'`ages` must be numbers from 0, got {list(ages)}')
    parts, config = as_pair_network(net), net.config
    confusion = {age: ConfusionMatrix(config.num_classes) for age in ages}
    losses, pixels, frames = (dict.fromkeys(ages, zero) for zero in (0.0, 0, 0))
    for clip in clips:
        weighting = ClassWeighting.of(config.num_classes, sets=clip.labels.sets)
        deep: list[Features] = []  # of the newest frames, the last one first
        pictures: list[Picture] = []  # of the same frames, if features move
        chain = FlowChain()
        for frame in clip.frames:
            image, label = read_frame(frame, clip.labels)
            image = shrink(image, height or 0, config.size_multiple)
            shrunk = torch.from_numpy(image).to(next(net.parameters()))
            independent = parts.encode(shrunk.permute(2, 0, 1)[None] / 255)
            deep = [parts.deep(independent), *deep[: max(ages)]]
            if config.motion == 'flow':
                pictures = [chain.flow.picture(image), *pictures[: max(ages)]]
                chain.add(pictures[0], pictures[1:])
            if label is None:
                continue
            truth = torch.from_numpy(label)[None].long().to(shrunk.device)
            count = int((truth != UNLABELLED).sum())
            for age in ages:
                if age < len(deep):
                    features = deep[age]
                    if age and pictures:
                        features = _moved(features, chain, pictures[age])
                    fused = parts.fuse(features, independent, is_keyframe=age == 0)
                    logits = parts.decode(fused, (label.shape[0], label.shape[1]))
                    losses[age] += (
                        float(cross_entropy(logits, truth, weighting.like(logits))) * count
                    )
                    pixels[age] += count
                    frames[age] += 1
                    confusion[age].update(logits.argmax(dim=1)[0].cpu().numpy(), label)
    if missing := [age for age in ages if not pixels[age]]:
        raise ValueError(f'`ages` must be within the clips, nothing is labelled at {missing}')
    return {
        age: {
            'loss': losses[age] / pixels[age],
            'miou': confusion[age].miou(),
            'frames': frames[age],
        }
        for age in ages
    }


def _moved(features: Features, chain: FlowChain, then: Picture) -> Features:
    """Features of an earlier picture where their content is in the newest one of a chain."""
    at = chain.places(then, max(_grid(feature) for feature in features))
    if at is None:  # the pictures are too small for the flow
        return features
    return tuple(warp(feature, at.on(_grid(feature))) for feature in features)


def _grid(feature: torch.Tensor) -> tuple[int, int]:
    return feature.shape[-2], feature.shape[-1]
