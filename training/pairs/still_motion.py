"""Turns a labelled still into a pair: how the scene looked a few frames earlier or later.

A still has no depth, but its labels say much: ground lies on a plane, facades stand along the
street, the sky is far, and whatever stands on the ground is as far as the spot it stands on. The
camera is moved through that scene; objects are moved as layers over a background in which they
were filled in, so that things are occluded and come into view as in a drive.

Shapes: H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.labels import CAMVID_NAMES, UNLABELLED
from dcfm_ros.training.pairs.hole_filling import fill_holes

Image = NDArray[np.uint8]

SKY = CAMVID_NAMES.index('sky')
CAR = CAMVID_NAMES.index('car')
GROUND = tuple(map(CAMVID_NAMES.index, ('road', 'pavement')))
STANDING = tuple(map(CAMVID_NAMES.index, ('pole', 'sign', 'car', 'pedestrian', 'bicyclist')))
MOVING = tuple(map(CAMVID_NAMES.index, ('car', 'pedestrian', 'bicyclist')))

MAX_OBJECTS = 16
MIN_OBJECT_AREA = 1 / 5000
"""Share of the image below which an object stays part of the background, as do all but the
MAX_OBJECTS largest."""
GRID = 4
"""The background's displacement is computed on every GRID-th pixel."""
HORIZON = 0.46
"""Row of the horizon as a share of H, measured on CamVid."""
FOCAL_LENGTH = 1.05
"""Focal length as a share of W. With it and `sample_ego` the motion is that measured on CamVid at
15 Hz: facades shrink by 2 % per frame, the picture swings sideways by up to 3 px per frame."""


@dataclass(frozen=True, eq=False)
class StandingObject:
    """One connected region of a class that stands on the ground."""

    class_id: int
    """Or that of a set of such classes."""
    left: int
    top: int
    patch: Image
    """RGB, (h, w, 3)."""
    mask: Image
    """255 on the object, (h, w)."""

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the still that the patch covers."""
        height, width = self.mask.shape
        return np.s_[self.top : self.top + height, self.left : self.left + width]

    @property
    def base(self) -> int:
        """Row below the object's lowest pixel: where it stands."""
        return self.top + self.mask.shape[0]


@dataclass(frozen=True, eq=False)
class Still:
    """A labelled image, ready to be moved."""

    image: Image
    """RGB, (H, W, 3)."""
    label: Image
    background: Image
    """The image without `objects`, (H, W, 3)."""
    nearness: NDArray[np.float32]
    """Inverse depth of the background, not to scale, on the coarse grid: [..., 0] of the ground
    plane, [..., 1] of what stands along the street; both 0 in the sky."""
    objects: list[StandingObject]


@dataclass(frozen=True, kw_only=True)
class Ego:
    """Camera motion from the labelled frame to the reference frame; the defaults stand still."""

    forward_m: float = 0.0
    """Metres that the camera is BEHIND its place in the labelled frame (negative: ahead)."""
    yaw_px: float = 0.0
    pitch_px: float = 0.0
    """Shift of the whole picture, pixels of the still."""
    roll_rad: float = 0.0
    camera_height_m: float = 1.4
    street_half_width_m: float = 9.0


def prepare_still(image: Image, label: Image, sets: Sequence[Sequence[int]] = ()) -> Still:
    """Cut the standing objects out of a still and lay out its depth.

    Args:
        image: RGB, (H, W, 3).
        label: CamVid class ids, (H, W), and ids of sets behind them; 255 = unlabelled.
        sets: Sets of classes. One whose classes all stand on the ground does so itself.
    """
    standing, on_ground = _with_sets(STANDING, sets), _with_sets(GROUND, sets)
    objects = _cut_out(image, label, standing)
    hole = np.zeros_like(label)
    for thing in objects:
        hole[thing.box] |= thing.mask
    hole = cv2.dilate(hole, np.ones((5, 5), np.uint8))
    height, width = label.shape
    coarse = label[GRID // 2 :: GRID, GRID // 2 :: GRID]
    rows, columns = _grid_positions(coarse.shape)
    below = np.broadcast_to(np.maximum(rows - HORIZON * height, 0), coarse.shape)
    aside = np.broadcast_to(np.abs(columns - width / 2), coarse.shape)
    # What is neither ground nor sky nor an object is taken for a street side.
    ground = np.isin(coarse, on_ground) | np.isin(coarse, standing) & (below > aside)
    nearness = np.stack([np.where(ground, below, 0), np.where(ground, 0, aside)], axis=-1)
    # Void is mostly the bonnet of the own car, which moves with the camera.
    nearness[(coarse == SKY) | (coarse == UNLABELLED)] = 0
    nearness = cv2.blur(nearness.astype(np.float32), (3, 3))
    # The bright sky would shine through the holes: take what stands beside them instead.
    worth = np.where(label == SKY, 0.02, 1.0).astype(np.float32)
    return Still(image, label, fill_holes(image, hole, worth), nearness, objects)


def sample_ego(age: int, width: int, rng: np.random.Generator) -> Ego:
    """Draw a camera motion over `age` frames at 15 Hz (negative: into the future).

    `width` is that of the still, pixels.
    """
    speed_mps = rng.choice([0.0, rng.uniform(2, 12), rng.uniform(6, 10)], p=[0.1, 0.5, 0.4])
    return Ego(  # a turn holds on, so yaw grows with age; pitch bounces around zero
        forward_m=float(speed_mps * age / 15),
        yaw_px=float(np.clip(rng.standard_t(3), -4, 4) * 1.2 * age * width / 480),
        pitch_px=float(rng.normal(0, 1.0) * np.sqrt(abs(age)) * width / 480),
        roll_rad=float(rng.normal(0, 0.003) * np.sqrt(abs(age))),
        camera_height_m=float(rng.uniform(1.2, 1.7)),
        street_half_width_m=float(rng.uniform(6, 14)),
    )


def moved_view(
    still: Still, ego: Ego, objects: Sequence[StandingObject], age: int, rng: np.random.Generator
) -> Image:
    """Render the still from another place, a few frames away in time.

    Args:
        still: The scene.
        ego: Camera motion.
        objects: What stands in it; `still.objects`, and perhaps some more.
        age: Frames in time, for the objects' own motion; negative: into the future.
        rng: Source of the objects' own motion.

    Returns:
        RGB, (H, W, 3).
    """
    height, width = still.label.shape
    focal = FOCAL_LENGTH * width
    centre_x, centre_y = width / 2, HORIZON * height
    per_row = 1 / (focal * ego.camera_height_m)
    per_column = 1 / (focal * ego.street_half_width_m)
    grow = 1 + ego.forward_m * (
        still.nearness[..., 0] * per_row + still.nearness[..., 1] * per_column
    )
    rows, columns = _grid_positions(grow.shape)
    x = columns - centre_x - ego.yaw_px
    y = rows - centre_y - ego.pitch_px
    coarse = np.stack([centre_x + x * grow - ego.roll_rad * y - columns,
                       centre_y + y * grow + ego.roll_rad * x - rows], axis=-1)  # fmt: skip
    maps = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    maps[..., 0] += np.arange(width, dtype=np.float32)
    maps[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    view = cv2.remap(
        still.background, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    for thing in sorted(objects, key=lambda item: item.base):
        nearness = max(thing.base - centre_y, 0.02 * height) * per_row
        own_forward, own_sideways = _own_motion(thing.class_id, age, rng)
        scale = 1 / max(1 + (ego.forward_m + own_forward) * nearness, 0.3)
        x0 = centre_x + (thing.left - centre_x) * scale + ego.yaw_px
        x0 += own_sideways * nearness * focal
        y0 = centre_y + (thing.top - centre_y) * scale + ego.pitch_px
        _lay_over(view, thing, x0, y0, scale)
    return view


def paste(image: Image, label: Image, thing: StandingObject) -> None:
    """Put an object of another still into an image and its label, in place."""
    inside = thing.mask > 0
    image[thing.box][inside] = thing.patch[inside]
    label[thing.box][inside] = thing.class_id


def _grid_positions(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], ...]:
    """Rows (h, 1) and columns (1, w) of the coarse grid, where OpenCV's resize has its points."""
    middle = (GRID - 1) / 2
    rows, columns = (np.arange(count, dtype=np.float32) * GRID + middle for count in shape[:2])
    return rows[:, None], columns[None]


def _own_motion(class_id: int, age: int, rng: np.random.Generator) -> tuple[float, float]:
    """Metres that an object was farther away and farther right `age` frames ago."""
    if class_id not in MOVING or rng.random() < 0.4:
        return 0.0, 0.0
    if class_id == CAR:
        return float(rng.uniform(-10, 8) * age / 15), float(rng.normal(0, 0.5) * age / 15)
    return float(rng.normal(0, 1) * age / 15), float(rng.normal(0, 1.2) * age / 15)


def _with_sets(classes: Sequence[int], sets: Sequence[Sequence[int]]) -> list[int]:
    """Classes, and the ids of the sets that have none but these."""
    first = len(CAMVID_NAMES)
    return [*classes, *(i for i, members in enumerate(sets, first) if set(members) <= {*classes})]


def _cut_out(image: Image, label: Image, standing: Sequence[int]) -> list[StandingObject]:
    objects = []
    smallest = MIN_OBJECT_AREA * label.size
    for class_id in standing:
        region = (label == class_id).astype(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=8)
        for index in range(1, count):
            left, top, width, height, area = (int(value) for value in stats[index])
            if area >= smallest:
                box = np.s_[top : top + height, left : left + width]
                mask = (parts[box] == index).astype(np.uint8) * 255
                objects.append(StandingObject(class_id, left, top, image[box].copy(), mask))
    objects.sort(key=lambda item: -int(np.count_nonzero(item.mask)))
    return objects[:MAX_OBJECTS]


def _lay_over(view: Image, thing: StandingObject, x0: float, y0: float, scale: float) -> None:
    """Blend an object into `view`, its top left corner at (x0, y0), in place."""
    height, width = view.shape[:2]
    left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
    right = min(int(np.ceil(x0 + thing.mask.shape[1] * scale)), width)
    bottom = min(int(np.ceil(y0 + thing.mask.shape[0] * scale)), height)
    if right <= left or bottom <= top:
        return
    matrix = np.array([[scale, 0, x0 - left], [0, scale, y0 - top]], np.float32)
    size = (right - left, bottom - top)
    patch = cv2.warpAffine(thing.patch, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(thing.mask, matrix, size).astype(np.float32)[..., None] / 255
    box = view[top:bottom, left:right]
    box[:] = (box + alpha * (patch.astype(np.float32) - box)).astype(np.uint8)
