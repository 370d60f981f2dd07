"""Turns a labelled still of any kind into a pair: the same scene a few frames earlier or later.

Nothing is known about the scene but its regions. So the picture as a whole moves like a plane in
front of a moving camera, and some of its regions stand at random depths before that plane: they
shift and grow more, the nearest the most, cover what is behind them, and uncover what they stood
before. For CamVid's street scenes `still_motion` knows more.

Shapes: H W image, h w region.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.training.pairs.hole_filling import fill_holes

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

REFERENCE_WIDTH = 480
"""Width that the motion below is given for, pixels; other images move in proportion."""
MAX_SHIFT = 0.2
"""Limit of a shift, as a share of the width; beyond it little would be seen twice."""


@dataclass(frozen=True, kw_only=True)
class LayerMotion:
    """How fast things move per frame, and how much light changes; draws a new motion per call."""

    shift_px: float = 1.5
    """Of the whole picture per frame, standard deviation, at a width of 480 pixels."""
    zoom: float = 0.008
    """Growth of the whole picture per frame, standard deviation."""
    tilt: float = 0.004
    """Perspective: growth across the width per frame, standard deviation."""
    roll_rad: float = 0.003
    """Turn in the picture, standard deviation after one frame; it shakes, so that four frames
    turn twice as far."""
    shear: float = 0.002
    """Shear, standard deviation after one frame; shakes likewise."""
    parallax: float = 1.0
    """How much more the nearest layer shifts and grows, as a multiple of the picture's."""
    own_px: float = 1.0
    """Shift of a layer of its own per frame, standard deviation; half of the layers stand."""
    light: float = 0.03
    """Standard deviation of the gain, and of the offset as a share of white."""
    max_layers: int = 8
    """Regions that are moved; the rest is part of the picture."""
    min_share: float = 1 / 1000
    """Smallest region that is moved, as a share of the image."""
    max_share: float = 1 / 4
    """Largest region that is moved, as a share of the image."""

    def reference(self, image: Image, label: Image, age: int, rng: np.random.Generator) -> Image:
        """Draw a view from `age` frames before the labelled frame.

        Args:
            image: RGB, (H, W, 3).
            label: Class ids, (H, W); 255 = unlabelled.
            age: Frames from the reference frame to the labelled one; negative: it comes after.
                With the same `rng` it runs the other way.
            rng: Source of all randomness.

        Returns:
            RGB, (H, W, 3).
        """
        height, width = label.shape
        layers = self._choose_layers(label, rng)
        hole = np.zeros((height, width), np.uint8)
        for layer in layers:
            hole[layer.box][layer.mask == 255] = 1
        camera = self._sample_camera(width, age, rng)
        picture = _plane(camera, (width / 2, height / 2))
        view = cv2.warpPerspective(
            _fill_behind(image, hole) if layers else image,
            picture,
            (width, height),
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for layer, nearness in zip(layers, np.sort(rng.random(len(layers))), strict=True):
            own = rng.normal(0, self.own_px, 2) * (rng.random() < 0.5) * width / REFERENCE_WIDTH
            nearer = camera.nearer(self.parallax * float(nearness))
            _lay_over(view, image, layer, _plane(nearer, layer.foot, own * age) @ picture)
        return self._change_light(view, rng)

    def _choose_layers(self, label: Image, rng: np.random.Generator) -> list[_Layer]:
        """Connected regions of one class, in random order."""
        limits = self.min_share * label.size, self.max_share * label.size
        regions = []
        # Half the size finds the same regions four times faster.
        small = np.ascontiguousarray(label[::2, ::2])
        for class_id in np.flatnonzero(np.bincount(small.ravel(), minlength=256)[:255]):
            region = (small == class_id).view(np.uint8)
            count, parts, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=8)
            areas = 4 * stats[1:count, cv2.CC_STAT_AREA]
            for index in np.flatnonzero((limits[0] <= areas) & (areas <= limits[1])) + 1:
                regions.append((parts, int(index), *(int(v) for v in stats[index, :4])))
        chosen = rng.permutation(len(regions))[: self.max_layers]
        return [_cut(label.shape, *regions[index]) for index in chosen.tolist()]

    def _sample_camera(self, width: int, age: int, rng: np.random.Generator) -> _Camera:
        """Steady motion grows with the age, shaking with its root."""
        steady, shaking = float(age), float(np.sign(age) * np.sqrt(abs(age)))
        limit = MAX_SHIFT * width
        shift = rng.standard_t(3, 2) * self.shift_px * steady * width / REFERENCE_WIDTH
        return _Camera(
            shift=np.clip(shift * (1.0, 0.4), -limit, limit),  # cameras pan more than they tilt
            zoom=float(np.clip(rng.normal(0, self.zoom) * steady, -0.4, 0.4)),
            roll=float(rng.normal(0, self.roll_rad) * shaking),
            shear=rng.normal(0, self.shear, 2) * shaking,
            tilt=np.clip(rng.normal(0, self.tilt, 2) * steady, -0.1, 0.1) / width,
        )

    def _change_light(self, view: Image, rng: np.random.Generator) -> Image:
        gain = 1 + rng.normal(0, self.light) + rng.normal(0, self.light / 3, 3)
        offset = 255 * rng.normal(0, self.light)
        table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(view, table[:, None]), np.uint8)


@dataclass(frozen=True, eq=False)
class _Layer:
    """A region that is moved."""

    left: int
    top: int
    mask: Image
    """255 on the region, (h, w)."""

    @property
    def box(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def foot(self) -> tuple[float, float]:
        """Middle of its lower edge, (x, y): where most things stand."""
        height, width = self.mask.shape
        return self.left + width / 2, self.top + height


@dataclass(frozen=True, kw_only=True, eq=False)
class _Camera:
    """Motion of the picture between the two frames."""

    shift: NDArray[np.float64]
    """(x, y), pixels."""
    zoom: float = 0.0
    """Growth: 0.1 makes everything 10 % larger."""
    roll: float = 0.0
    """Radians."""
    shear: NDArray[np.float64]
    tilt: NDArray[np.float64]
    """Perspective: growth per pixel to the right and down."""

    def nearer(self, share: float) -> _Camera:
        """What a layer moves beyond the picture: turning moves all depths alike."""
        none = np.zeros(2)
        return _Camera(shift=share * self.shift, zoom=share * self.zoom, shear=none, tilt=none)


def _plane(camera: _Camera, centre: tuple[float, float], shift: Matrix | float = 0.0) -> Matrix:
    """Homography of a plane (3, 3), turning and growing about `centre`, then shifted."""
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = np.negative(centre), centre + camera.shift + shift
    turn = np.array([
        [1 + camera.zoom, camera.shear[0] - camera.roll, 0],
        [camera.shear[1] + camera.roll, 1 + camera.zoom, 0],
        [camera.tilt[0], camera.tilt[1], 1],
    ])  # fmt: skip
    return np.asarray(back @ turn @ there, np.float64)


def _cut(
    shape: tuple[int, ...], parts: NDArray[np.int32], index: int,
    left: int, top: int, width: int, height: int,
) -> _Layer:  # fmt: skip
    """Layer at full size from region `index` of the map of regions at half size."""
    # With a rim of 2 pixels: what shines through at the edge must not stay behind.
    right, bottom = left + width + 1, top + height + 1
    left, top = max(left - 1, 0), max(top - 1, 0)
    region = (parts[top:bottom, left:right] == index).astype(np.uint8) * 255
    small = cv2.dilate(region, np.ones((3, 3), np.uint8))
    left, top = 2 * left, 2 * top
    size = min(2 * small.shape[1], shape[1] - left), min(2 * small.shape[0], shape[0] - top)
    mask = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    return _Layer(left, top, np.asarray(mask, np.uint8))


def _fill_behind(image: Image, hole: Image) -> Image:
    """The image without its layers; filled at half the size, for there is no detail in it."""
    height, width = hole.shape
    half = (max(width // 2, 1), max(height // 2, 1))
    small_hole = cv2.resize(hole, half, interpolation=cv2.INTER_NEAREST)
    small = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    filled = fill_holes(small, np.asarray(small_hole, np.uint8), np.ones(half[::-1], np.float32))
    larger = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.copyTo(larger, hole, image.copy()), np.uint8)


def _lay_over(view: Image, image: Image, layer: _Layer, motion: Matrix) -> None:
    """Blend a layer of `image`, moved, into `view`, in place."""
    height, width = layer.mask.shape
    # What the image's edge cuts off goes on beyond it, mirrored, or the cut would come into view.
    above, below, before, behind = (
        view.shape[1] // 8 if is_cut else 0
        for is_cut in (
            layer.top == 0,
            layer.top + height == view.shape[0],
            layer.left == 0,
            layer.left + width == view.shape[1],
        )
    )
    patch, mask = (
        cv2.copyMakeBorder(pixels, above, below, before, behind, cv2.BORDER_REFLECT)
        for pixels in (image[layer.box], layer.mask)
    )
    left, right = layer.left - before, layer.left + width + behind
    top, bottom = layer.top - above, layer.top + height + below
    corners = np.array([[[left, top], [right, top], [left, bottom], [right, bottom]]], np.float64)
    moved = cv2.perspectiveTransform(corners, motion)[0]
    x0, y0 = np.maximum(np.floor(moved.min(0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(moved.max(0)).astype(int), (view.shape[1], view.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    into, out_of = np.eye(3), np.eye(3)
    into[:2, 2], out_of[:2, 2] = (-x0, -y0), (left, top)
    matrix, size = into @ motion @ out_of, (int(x1 - x0), int(y1 - y0))
    patch = cv2.warpPerspective(patch, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpPerspective(mask, matrix, size).astype(np.float32)[..., None] / 255
    box = view[y0:y1, x0:x1]
    box[:] = (box + alpha * (patch.astype(np.float32) - box)).astype(np.uint8)
