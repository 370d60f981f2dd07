"""Decodes images and label files into pixels and class ids.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.label_png import read_label_png
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.footage.clips import Frame
from dcfm_ros.training.footage.label_sets import LabelSet

Image = NDArray[np.uint8]


def read_frame(frame: Frame, labels: LabelSet) -> tuple[Image, Image | None]:
    """Decode a frame.

    Args:
        frame: What to decode.
        labels: What its label file holds.

    Returns:
        RGB (H, W, 3), and ids (H, W) of classes, and from K on of sets of them, with 255 =
        ignored, or None if it has no label.

    Raises:
        ValueError: If a file is missing or unreadable, the two differ in size, or the label holds
            a value or a colour that the label set does not have.
    """
    problems: list[str] = []
    image, label = decode_frame(frame, labels, problems)
    if problems or image is None:
        raise ValueError('; '.join(problems))
    return image, label


def decode_frame(
    frame: Frame, labels: LabelSet, problems: list[str]
) -> tuple[Image | None, Image | None]:
    """`read_frame`, but what is wrong is added to `problems`, and None is what cannot be read."""
    image = _read_image(frame.image, problems)
    label = None if frame.label is None else decode_label(frame.label, labels, problems)
    if image is not None and label is not None and image.shape[:2] != label.shape:
        size = image.shape[:2]
        problems.append(f'{frame.label} is {label.shape}, its image {size} (H, W)')
    return image, label


def _read_image(path: Path, problems: list[str]) -> Image | None:
    if not path.is_file():
        problems.append(f'{path} is missing')
        return None
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)  # as RGB from OpenCV 4.10 only
    if image is None:
        problems.append(f'{path} cannot be read as an image')
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def decode_label(path: Path, labels: LabelSet, problems: list[str]) -> Image | None:
    """Class ids of a label file, (H, W), None if it cannot be read; what is wrong is added."""
    if not path.is_file():
        problems.append(f'{path} is missing')
        return None
    try:
        pixels = read_label_png(path.read_bytes())
    except (OSError, ValueError) as error:
        problems.append(f'{path} cannot be read as a label: {error}')
        return None
    if pixels.ndim == 2:
        values = pixels
    elif labels.colours:
        values = _values_of_colours(path, pixels, labels, problems)
    else:
        problems.append(f'{path} must hold 8-bit ids of {labels.name}, got an image in colour')
        return None
    allowed = labels.allowed[values]
    if not allowed.all():
        ids, counts = np.unique(values[~allowed], return_counts=True)
        problems.append(f'{path} has ids that {labels.name} has not: {_counted(ids, counts)}')
    return labels.to_class[values]


def _values_of_colours(path: Path, pixels: Image, labels: LabelSet, problems: list[str]) -> Image:
    """Ids of a painted label, (H, W, 3) -> (H, W); unknown colours are reported and become 255."""
    colours = sorted(labels.colours)
    keys = np.array([_packed(np.array(colour)) for colour in colours])
    ids = np.array([labels.colours[colour] for colour in colours], np.uint8)
    packed = _packed(pixels)
    place = np.minimum(np.searchsorted(keys, packed), len(keys) - 1)
    is_known = keys[place] == packed
    if not is_known.all():
        wrong, counts = np.unique(packed[~is_known], return_counts=True)
        names = [f'#{value:06x}' for value in wrong.tolist()]
        found = _counted(names, counts)
        problems.append(f'{path} has colours that {labels.name} has not: {found}')
    return np.where(is_known, ids[place], UNLABELLED).astype(np.uint8)


def _packed(pixels: NDArray[np.generic]) -> NDArray[np.int32]:
    """RGB (..., 3) as one number 0xRRGGBB, which sorts like the colours."""
    return pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def _counted(items: Iterable[object], counts: Iterable[object], most: int = 8) -> str:
    listed = [f'{item} ({count} pixels)' for item, count in zip(items, counts, strict=True)]
    return ', '.join(listed[:most]) + (', ...' if len(listed) > most else '')
