"""Finds labelled frames and decodes them; one place for each.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import CAMVID_NAMES, UNLABELLED

Image = NDArray[np.uint8]

NUM_LISTED = 20
"""Problems that an error message spells out; the rest is counted."""


@dataclass(frozen=True)
class LabelledFrame:
    """Where one frame and its label lie; nothing is decoded yet."""

    image: Path
    label: Path

    @property
    def sequence(self) -> str:
        """Name of the drive that the frame was taken from ('0016E5' of 0016E5_07959)."""
        return self.image.stem.rsplit('_', 1)[0]


def find_camvid(root: Path, split: str) -> list[LabelledFrame]:
    """List CamVid in the 480x360 layout, in name order, which is time order within a drive.

    Args:
        root: Folder that holds `<split>/<name>.jpg` and `<split>annot/<name>.png`.
        split: 'train', 'val' or 'test'.

    Raises:
        FileNotFoundError: If one of the two folders does not exist.
        ValueError: If an image has no label, a label no image (all are listed), or none is there.
    """
    images, labels = Path(root) / split, Path(root) / f'{split}annot'
    for folder in (images, labels):
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} is not a folder')
    found = {path.stem: path for path in sorted(images.glob('*.jpg'))}
    annotated = {path.stem: path for path in sorted(labels.glob('*.png'))}
    problems = [f'{found[name]} has no label' for name in sorted(set(found) - set(annotated))]
    problems += [f'{annotated[name]} has no image' for name in sorted(set(annotated) - set(found))]
    if not found:
        problems.append(f'{images} holds no .jpg')
    _raise_all(problems)
    return [LabelledFrame(found[name], annotated[name]) for name in found]


def hold_out(
    frames: Sequence[LabelledFrame], share: float
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Split frames into training and validation; the same split on every call.

    The last `share` of each drive is held out as one block: neighbours in time look alike, so
    picking frames at random would test on what was trained on.

    Args:
        frames: In time order within each drive.
        share: Of every drive, in [0, 1).

    Returns:
        (training frames, validation frames).
    """
    if not 0 <= share < 1:
        raise ValueError(f'`share` must be in [0, 1), got {share}')
    drives: dict[str, list[LabelledFrame]] = {}
    for frame in frames:
        drives.setdefault(frame.sequence, []).append(frame)
    training, validation = [], []
    for drive in drives.values():
        cut = len(drive) - round(share * len(drive))
        training += drive[:cut]
        validation += drive[cut:]
    return training, validation


def load_frames(
    frames: Sequence[LabelledFrame], num_classes: int = len(CAMVID_NAMES)
) -> list[tuple[Image, Image]]:
    """Decode all frames into memory (0.7 MB each at 480x360).

    Args:
        frames: What to decode.
        num_classes: Label ids from here on become 255, unlabelled.

    Returns:
        (RGB image (H, W, 3), label (H, W)) per frame, uint8.

    Raises:
        ValueError: If files cannot be decoded or an image and its label differ in size; all are
            listed.
    """
    decoded, problems = [], []
    for frame in frames:
        image = cv2.imread(str(frame.image), cv2.IMREAD_COLOR)
        label = cv2.imread(str(frame.label), cv2.IMREAD_UNCHANGED)
        if image is None:
            problems.append(f'{frame.image} cannot be read as an image')
        if label is None or label.ndim != 2 or label.dtype != np.uint8:
            problems.append(f'{frame.label} cannot be read as an 8-bit label of one channel')
        elif image is not None and image.shape[:2] != label.shape:
            size, label_size = image.shape[:2], label.shape
            problems.append(f'{frame.image} is {size} and its label {label_size} (H, W)')
        elif image is not None:
            label = np.where(label < num_classes, label, UNLABELLED).astype(np.uint8)
            decoded.append((cv2.cvtColor(image, cv2.COLOR_BGR2RGB), label))
    _raise_all(problems)
    return decoded


def _raise_all(problems: list[str]) -> None:
    if not problems:
        return
    listed = '\n  '.join(problems[:NUM_LISTED])
    more = f'\n  and {len(problems) - NUM_LISTED} more' if len(problems) > NUM_LISTED else ''
    raise ValueError(f'{len(problems)} problems with the data:\n  {listed}{more}')
