"""Class mask on the CPU: in tiles, each computed for only the classes that can win there.

A bilinear value lies between the values of the four grid points around it. So between four points
a class cannot win if its largest value is below the smallest value of another class, which leaves
most tiles with few classes. Nothing is approximated.
Shapes: K classes, h w feature grid, H W mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Planes = NDArray[np.float32]
"""Logits, (K, h, w), contiguous."""
Mask = NDArray[np.uint8]

_TILE = 160
"""Approximate rows and columns of a tile; smaller tiles cost more calls than they save."""
_EVERY = 3
"""Every how many rows and columns of the grid are sampled to judge whether tiles pay off."""
_WORTH = 0.4
"""If tiles are left with a larger share of the classes, the whole mask at once is faster."""


def class_mask_in_tiles(planes: Planes, size: tuple[int, int]) -> Mask:
    """Class of every pixel: argmax of the bilinearly resized logits, the first on a tie.

    Args:
        planes: Logits of at most 255 classes.
        size: (H, W) of the mask.
    """
    mask = np.empty(size, np.uint8)
    rows, columns = _cuts(planes.shape[1], size[0]), _cuts(planes.shape[2], size[1])
    # Where nothing is resized, finding out who can win takes longer than comparing all.
    if planes.shape[1:] == size or not _is_worth_it(planes, rows, columns):
        whole = _whole(planes.shape[1], size[0]), _whole(planes.shape[2], size[1])
        _put_best(planes, range(len(planes)), *whole, mask)
        return mask
    for row in rows:
        can_win = np.any(_can_win(planes[:, row.points]), axis=1)
        for column in columns:
            classes = np.flatnonzero(np.any(can_win[:, column.gaps], axis=1)).tolist()
            _put_best(planes, classes, row, column, mask)
    return mask


def resize(plane: Plane, size: tuple[int, int], to: Plane | None = None) -> Plane:
    """Bilinear with pixel centres at half, borders repeated: torch's align_corners=False.

    Args:
        plane: (h, w).
        size: (H, W).
        to: Receives the result, (H, W); None: a new array.
    """
    resized = cv2.resize(plane, (size[1], size[0]), to, interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


class _Cut(NamedTuple):
    """A piece of one axis."""

    pixels: slice
    """Of the mask."""
    points: slice
    """Of the grid, around these pixels."""
    gaps: slice
    """Between those points."""
    block: slice
    """Of the grid: what is resized, whole pixels and the points around them."""
    resized: int
    """Pixels that the block becomes."""
    margin: int
    """How many of them come before `pixels`."""


@lru_cache(maxsize=64)
def _cuts(count: int, size: int) -> tuple[_Cut, ...]:
    """Cut an axis of `count` grid points and `size` pixels where pixels and grid meet.

    That is every H / gcd(h, H) pixels: a block between two such places, resized on its own, has
    the same pixels as in the whole, except at its ends.
    """
    meets = math.gcd(count, size)
    step, pixels = count // meets, size // meets
    pieces = max(1, min(meets, round(size / _TILE)))
    ends = [round(meets * i / pieces) for i in range(pieces + 1)]
    cuts = []
    for begin, end in pairwise(ends):
        first, last = (begin * pixels + 0.5) / size, (end * pixels - 0.5) / size
        before = min(max(math.floor(first * count - 0.5), 0), count - 2)
        after = min(max(math.floor(last * count - 0.5), 0), count - 2) + 1
        around = slice(max(begin - 1, 0), min(end + 1, meets))
        cuts.append(_Cut(
            slice(begin * pixels, end * pixels),
            slice(before, after + 1),
            slice(before, after),
            slice(around.start * step, around.stop * step),
            (around.stop - around.start) * pixels,
            (begin - around.start) * pixels,
        ))  # fmt: skip
    return tuple(cuts)


def _whole(count: int, size: int) -> _Cut:
    """An axis in one piece."""
    grid = slice(0, count)
    return _Cut(slice(0, size), grid, slice(0, count - 1), grid, size, 0)


def _is_worth_it(planes: Planes, rows: Sequence[_Cut], columns: Sequence[_Cut]) -> bool:
    """Whether there are tiles with few classes, judged by some points on the diagonal."""
    if len(rows) * len(columns) == 1 or min(planes.shape[1:]) <= _EVERY:
        return False
    left = 0
    for number, row in enumerate(rows):
        column = columns[number * len(columns) // len(rows)]
        part = planes[:, row.points, column.points][:, ::_EVERY, ::_EVERY]
        classes = int(np.any(_can_win(part), axis=(1, 2)).sum())
        left += classes if classes > 1 else 0  # one class is not resized
    return left <= _WORTH * len(planes) * len(rows)


def _can_win(planes: Planes) -> NDArray[np.bool_]:
    """Which classes can win between four points of the grid: (K, h, w) -> (K, h - 1, w - 1)."""
    count, height, width = planes.shape
    # Flattened rows are four times as fast; pairs across the end of a row are cut off below.
    flat = planes.reshape(count, -1)
    least = np.minimum(flat[:, :-1], flat[:, 1:])
    least = np.minimum(least[:, :-width], least[:, width:]).max(axis=0)
    most = np.maximum(flat[:, :-1], flat[:, 1:])
    most = np.maximum(most[:, :-width], most[:, width:])
    loses = np.zeros((count, (height - 1) * width), bool)
    np.less(most, least, out=loses[:, :-1])  # NaN excludes nothing
    return ~loses.reshape(count, height - 1, width)[..., :-1]


def _put_best(planes: Planes, classes: Sequence[int], row: _Cut, column: _Cut, mask: Mask) -> None:
    """Fill a piece of a mask with the best of these classes, in ascending order."""
    tile = mask[row.pixels, column.pixels]
    tile[...] = classes[0]
    if len(classes) == 1:
        return
    # Reused: allocating memory for every plane costs more than the work on it.
    size = row.resized, column.resized
    best, other = np.empty(size, np.float32), np.empty(size, np.float32)
    inside = (
        slice(row.margin, row.margin + tile.shape[0]),
        slice(column.margin, column.margin + tile.shape[1]),
    )
    resize(planes[classes[0], row.block, column.block], size, best)
    best, plane = best[inside], other[inside]
    is_better = np.empty(tile.shape, np.uint8)
    for number in classes[1:]:
        resize(planes[number, row.block, column.block], size, other)
        cv2.compare(plane, best, cv2.CMP_GT, is_better)  # 255 where true
        np.bitwise_and(is_better, np.uint8(number), out=is_better)
        # Ascending numbers: the maximum keeps the latest class that was better.
        cv2.max(tile, is_better, tile)
        cv2.max(best, plane, best)
