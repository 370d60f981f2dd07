"""`fit_temperature`: a confidence that means what it says, fitted to labelled frames.

Guo et al., "On Calibration of Modern Neural Networks", 2017. Shapes: N pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros.backends.choice import Network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.masks.tiles import resize
from dcfm_ros.training.ablated_network import make_engine
from dcfm_ros.training.evaluation.clip_passes import segment_clip
from dcfm_ros.training.evaluation.reliability import Reliability
from dcfm_ros.training.evaluation.setting import Setting
from dcfm_ros.training.footage.clips import Clip

_MOST_PIXELS = 4000
"""Of a frame, drawn at random: neighbours say the same, and all of them would not fit."""
_LIMITS = (0.05, 20.0)
_STEPS = 40


class Calibration(NamedTuple):
    """A temperature, and what it does to the frames that it was fitted to."""

    temperature: float
    frames: int
    ece_before: float
    """Expected calibration error of the drawn pixels at temperature 1."""
    ece_after: float


def fit_temperature(
    net: Network, clips: Sequence[Clip], setting: Setting, options: EngineOptions
) -> Calibration:
    """Find the temperature at which the labels are likeliest, on all frames of a schedule.

    One number for all classes, so that no mask changes.

    Args:
        net: The temperature that it has is left out of account.
        clips: With labels that it was not trained on.
        setting: Where keyframes lie.
        options: How the network is run.

    Raises:
        ValueError: If no pixel has a label of one class.
    """
    engine = make_engine(net, setting.of_engine(options), setting.keyframes)
    random = np.random.default_rng(0)
    drawn = [
        _draw(result.logits[0], label, net.config.num_classes, random)
        for clip in clips
        for label, result in segment_clip(engine, clip, setting, 0)
        if label is not None
    ]
    if not drawn or not sum(len(label) for _, label in drawn):
        raise ValueError('`clips` must have a pixel with a label of one class, got none')
    logits = torch.cat([of_frame for of_frame, _ in drawn])
    labels = torch.cat([of_frame for _, of_frame in drawn])
    temperature = _likeliest(logits, labels)
    before, after = (_ece(logits / t, labels) for t in (1.0, temperature))
    return Calibration(temperature, len(drawn), before, after)


def _draw(
    planes: NDArray[np.floating],
    label: NDArray[np.uint8],
    num_classes: int,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Logits (N, K) and labels (N,) of some labelled pixels of a frame."""
    places = np.flatnonzero(label < num_classes)
    places = random.permutation(places)[:_MOST_PIXELS]
    size = (label.shape[0], label.shape[1])
    logits = [
        resize(np.ascontiguousarray(plane, np.float32), size).reshape(-1)[places]
        for plane in planes
    ]
    found = label.reshape(-1)[places].astype(np.int64)
    return torch.from_numpy(np.stack(logits, axis=1)), torch.from_numpy(found)


def _likeliest(logits: Tensor, labels: Tensor) -> float:
    """The temperature with the smallest cross-entropy, by golden section: it has one minimum."""
    low, high = map(math.log, _LIMITS)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(_STEPS):
        below, above = high - ratio * (high - low), low + ratio * (high - low)
        losses = [float(F.cross_entropy(logits / math.exp(t), labels)) for t in (below, above)]
        low, high = (low, above) if losses[0] < losses[1] else (below, high)
    return math.exp((low + high) / 2)


def _ece(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error of pixels."""
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    found = Reliability()
    found.update(predicted.numpy(), confidence.numpy(), labels.numpy(), logits.shape[1])
    return found.error()
