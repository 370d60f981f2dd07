"""Fused features of a network on the frames of a dataset, for figures 7 and 8.

Shapes: C feature channels, h w feature grid, H W image, N vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from dcfm_ros.backends.device import resolve_device
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.ablated_network import fuse, load_network, read_network_metadata
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame

Image = NDArray[np.uint8]
Feature = NDArray[np.float32]

MAX_LABELLED = 500
"""Labelled frames to draw vectors from at most; of a larger dataset, evenly spread ones."""


class FeatureExtractor:
    """A checkpoint's network up to its fused feature."""

    def __init__(self, checkpoint: Path, device: str = 'auto') -> None:
        """Load the network.

        Args:
            checkpoint: A .safetensors file.
            device: As in `SegmentationEngine`.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it cannot be used.
            ValueError: If the device is absent.
        """
        self._device = resolve_device(device)
        self.net = load_network(checkpoint, self._device)
        self._height = read_network_metadata(checkpoint).image_height

    @torch.inference_mode()
    def fused(self, image: Image, keyframe: Image | None = None) -> Feature:
        """The output of the fusion module, L2-normalised, (C, h, w).

        Args:
            image: RGB, (H, W, 3).
            keyframe: Whose common feature to use, (H, W, 3); None: the image's own.
        """
        independent = self.net.encode_independent(self._to_input(image))
        if keyframe is None:
            common = self.net.encode_common(independent)
        else:
            reference = self.net.encode_independent(self._to_input(keyframe))
            common = self.net.encode_common(reference)
        fused = fuse(self.net, common, independent, is_keyframe=keyframe is None)
        return np.asarray(fused[0].float().cpu().numpy(), np.float32)

    def _to_input(self, image: Image) -> torch.Tensor:
        """The image as the engine feeds it: at the height trained for, RGB in [0, 1]."""
        tensor = torch.from_numpy(shrink(image, self._height)).to(self._device)
        return tensor.permute(2, 0, 1)[None].float() / 255


@dataclass(frozen=True, eq=False)
class Sample:
    """Feature vectors drawn at random, with the class of the pixel that each lies on."""

    vectors: Feature
    """(N, C)."""
    classes: NDArray[np.int64]
    """(N,)."""


def sample_vectors(
    extractor: FeatureExtractor,
    clips: Sequence[Clip],
    *,
    per_class: int,
    interval: int,
    seed: int = 0,
) -> Sample:
    """Draw feature vectors of each class from the labelled frames, every pixel alike.

    Frames are segmented as on the robot: with the common feature of the keyframe before them.

    Args:
        extractor: Of one checkpoint. Two whose grids have the same size give the same pixels.
        clips: With labels of the extractor's classes.
        per_class: How many to draw, at least 1; a class that has fewer gives all it has.
        interval: Keyframe interval in frames, at least 1.
        seed: Of the draw.

    Raises:
        ValueError: If no frame is labelled, or a file cannot be read.
    """
    random = np.random.default_rng(seed)
    kept: dict[int, tuple[NDArray[np.float64], Feature]] = {}
    for image, keyframe, label in _labelled_frames(clips, interval):
        feature = extractor.fused(image, keyframe)
        vectors = feature.reshape(len(feature), -1).T
        cells = _at_cell_centres(label, feature.shape[1:]).ravel()
        # A random number per pixel: those with the smallest numbers are a fair draw from all
        # frames, without keeping more than `per_class` vectors of a class.
        tickets = random.random(len(cells))
        for class_id in np.unique(cells[cells != UNLABELLED]).tolist():
            chosen = np.flatnonzero(cells == class_id)
            chosen = chosen[np.argsort(tickets[chosen])[:per_class]]
            numbers, found = tickets[chosen], vectors[chosen]
            if class_id in kept:
                numbers = np.concatenate([kept[class_id][0], numbers])
                found = np.concatenate([kept[class_id][1], found])
            order = np.argsort(numbers)[:per_class]
            kept[class_id] = numbers[order], found[order]
    if not kept:
        raise ValueError('`clips` must hold labelled frames, got none')
    classes = [np.full(len(kept[class_id][1]), class_id) for class_id in sorted(kept)]
    found = np.concatenate([kept[class_id][1] for class_id in sorted(kept)])
    return Sample(found, np.concatenate(classes))


def _at_cell_centres(label: Image, grid: tuple[int, ...]) -> Image:
    """Class under the middle of each cell of the feature grid, (H, W) -> (h, w)."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * pixels / cells).astype(int)
        for cells, pixels in zip(grid, label.shape, strict=True)
    )
    return label[np.ix_(rows, columns)]


def _labelled_frames(
    clips: Sequence[Clip], interval: int
) -> Iterator[tuple[Image, Image | None, Image]]:
    """Image, keyframe before it (None: it is one itself) and label of the labelled frames."""
    places = [(clip, index) for clip in clips for index in clip.labelled]
    if len(places) > MAX_LABELLED:
        spread = np.linspace(0, len(places) - 1, MAX_LABELLED).round().astype(int)
        places = [places[index] for index in spread]
    for clip, index in tqdm(places, 'features', disable=None, leave=False):
        image, label = read_frame(clip.frames[index], clip.labels)
        assert label is not None
        reference = index - index % interval
        keyframe = None
        if reference != index:
            keyframe, _ = read_frame(clip.frames[reference], clip.labels)
        yield image, keyframe, label
