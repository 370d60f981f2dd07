"""Labels for unlabelled footage from a trained network, to train another on: self-training.

A pixel keeps its label where the network is sure of it. In any street it is surer of the road than
of a pole, so that one threshold for all would teach the next network that there are no poles. Each
class therefore keeps a share of its own: class-balanced self-training (CBST), Zou et al., ECCV
2018. Shapes: K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
import tempfile
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.files import new_folder, write_json, write_text
from dcfm_ros.images.image_file import write_image
from dcfm_ros.models.config import NetworkConfig
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.recordings.extract import ExtractOptions, extract_frames
from dcfm_ros.recordings.sources import SourceFrame
from dcfm_ros.training.footage.class_files import class_file_text, read_label_set
from dcfm_ros.training.footage.label_sets import label_set_of

RECORD = 'pseudo_labels.json'
NUM_LEVELS = 256
SURE = NUM_LEVELS - 1

Image = NDArray[np.uint8]
Predict = Callable[[Image], Tensor]
"""RGB (H, W, 3) to the probability of every class, (K, H, W)."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Which pixels keep their label.

    A confidence becomes a level, 8 bits: 0 is below the floor, `SURE` is sure in any case, and
    what lies between is divided into equal steps. The two ends are exact.
    """

    min_confidence: float = 0.9
    """Probability from which on a pixel keeps its label, in [0, 1]."""
    class_share: float = 0.5
    """Share of every class that keeps its label at least, the surest pixels of the whole
    recording, in [0, 1]; 0: one threshold for all."""
    floor: float = 0.6
    """Below this probability no pixel keeps its label all the same, up to `min_confidence`."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ('min_confidence', 0.0, 1.0),
            ('class_share', 0.0, 1.0),
            ('floor', 0.0, self.min_confidence),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f'`{name}` must be from {low:g} to {high:g}, got {value}')

    def levels(self, confidence: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Level of every confidence, any shape."""
        step = (self.min_confidence - self.floor) / (SURE - 1)
        steps = (confidence - self.floor) / (step or 1.0)
        levels = np.clip(1 + steps, 1, SURE - 1).astype(np.uint8)
        levels[confidence < self.floor] = 0
        levels[confidence >= self.min_confidence] = SURE
        return levels

    def confidence(self, level: int) -> float:
        """Lowest confidence of a level above 0."""
        if level == SURE:
            return self.min_confidence
        return self.floor + (level - 1) * (self.min_confidence - self.floor) / (SURE - 1)

    def lowest_levels(self, counts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Lowest level at which a class keeps its label.

        Args:
            counts: Pixels of each class and level, (K, 256).

        Returns:
            From 1 to `SURE`, (K,).
        """
        at_least = _at_least(counts)
        is_enough = at_least >= self.class_share * at_least[:, :1]
        # They fall with the level: the last one that is enough keeps the fewest pixels.
        return np.clip(is_enough.sum(1) - 1, 1, SURE).astype(np.uint8)


def label_footage(
    frames: Iterable[SourceFrame],
    predict: Predict,
    config: NetworkConfig,
    output: Path,
    name: str,
    *,
    thresholds: Thresholds | None = None,
    every: int = 1,
    jpeg: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a recording with labels for the dataset 'folder', split 'train'.

    The thresholds follow from all frames, so the network runs once over them and the masks are
    thinned out afterwards. `output` appears when everything is written.

    Args:
        frames: The recording, in time order; labels that they have are not used.
        predict: A `teacher.Teacher`.
        config: Of its network: the classes.
        output: Folder to create, or an empty one.
        name: Of the clip in it.
        thresholds: Which pixels keep their label; None: `Thresholds()`.
        every: Label every n-th frame only. All are written: they are the neighbours that pairs
            are made with.
        jpeg: Write JPEG images (quality 95) instead of PNG.
        origin: Where frames and predictions come from, kept in the record.

    Returns:
        The record, which is in the folder too.

    Raises:
        FileExistsError: If `output` is there and not empty.
        SourceError: If there is no frame.
        ValueError: If `every` is below 1 or two classes have one name or colour.
    """
    if every < 1:
        raise ValueError(f'`every` must be at least 1, got {every}')
    thresholds = thresholds or Thresholds()
    with new_folder(output) as part, tempfile.TemporaryDirectory(dir=part.parent) as folder:
        levels = Path(folder)
        labels = label_set_of(
            name, config.class_names, config.palette, {i: i for i in range(config.num_classes)}
        )
        write_text(part / 'classes.yaml', class_file_text(labels))
        read_label_set(part)  # so that two classes of one name are an error at once
        counts = np.zeros((config.num_classes, NUM_LEVELS), np.int64)
        labelled = _labelled(frames, predict, thresholds, every, levels, counts)
        clip = part / 'train' / name
        num_images, num_masks = extract_frames(
            labelled, clip, ExtractOptions(jpeg=jpeg), dict(origin or {})
        )
        lowest = thresholds.lowest_levels(counts)
        for path in (clip / 'masks').iterdir():
            mask = _read_png(path)
            mask[_read_png(levels / path.name) < lowest[mask]] = UNLABELLED
            write_image(path, mask)
        record = {
            **(origin or {}),
            **asdict(thresholds),
            'every': every,
            'images': num_images,
            'masks': num_masks,
            **_shares(config.class_names, counts, lowest, thresholds),
        }
        write_json(part / RECORD, record)
    return record


def _labelled(
    frames: Iterable[SourceFrame],
    predict: Predict,
    thresholds: Thresholds,
    every: int,
    levels: Path,
    counts: NDArray[np.int64],
) -> Iterator[SourceFrame]:
    """The frames, every n-th with its mask; its levels go to a file and are added to `counts`."""
    for index, frame in enumerate(frames):
        mask = None
        if index % every == 0:
            confidence, best = predict(frame.image).max(0)
            mask = best.to(torch.uint8).cpu().numpy()
            level = thresholds.levels(confidence.cpu().numpy())
            places = mask.astype(np.int64) * NUM_LEVELS + level
            counts += np.bincount(places.ravel(), minlength=counts.size).reshape(counts.shape)
            # Like the mask's: `extract_frames` numbers the frames in the same way.
            write_image(levels / f'{index:06d}.png', level)
        yield replace(frame, label=mask)


def _shares(
    names: Sequence[str],
    counts: NDArray[np.int64],
    lowest: NDArray[np.uint8],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """How much of everything and of each class keeps its label."""
    at_least = _at_least(counts)
    seen, kept = at_least[:, 0], at_least[np.arange(len(names)), lowest]
    classes = {
        name: {
            'share': seen[i] / seen.sum(),  # of all pixels, before any is left out
            'threshold': thresholds.confidence(int(lowest[i])),
            'kept': kept[i] / seen[i] if seen[i] else None,
        }
        for i, name in enumerate(names)
    }
    return {'kept': kept.sum() / seen.sum(), 'classes': classes}


def _at_least(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels of each class at a level or above, (K, 256)."""
    return counts[:, ::-1].cumsum(1)[:, ::-1]


def _read_png(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8)
