"""Pinhole camera and light of the synthetic drives."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
UP = np.array([0.0, 1.0, 0.0])


class Camera(NamedTuple):
    """Pinhole camera; the world has x right, y up, z along the road, in metres."""

    rotation: Floats
    """World to camera (x right, y down, z forward), shape (3, 3)."""
    centre: Floats
    """Position in the world, shape (3,)."""
    focal_px: float
    cx: float
    cy: float

    def to_camera(self, points: Floats) -> Floats:
        """Return world points (N, 3) in camera coordinates (N, 3)."""
        return (points - self.centre) @ self.rotation.T

    def to_pixels(self, points: Floats) -> Floats:
        """Project points (..., 3) in camera coordinates with z > 0 to pixels (..., 2)."""
        pixels: Floats = points[..., :2] * (self.focal_px / points[..., 2:])
        pixels += np.array((self.cx, self.cy))
        return pixels


class Light(NamedTuple):
    """Illumination of a drive."""

    sun: Floats
    """Unit vector towards the sun, shape (3,)."""
    ambient: float
    """Brightness of a surface in the shade."""
    direct: float
    """What the sun adds to a surface that faces it."""
    haze: Floats
    """Colour of the air far away, RGB, shape (3,)."""
    haze_m: float
    """Distance at which 63 % of the light is haze, metres."""

    def shade(self, normals: Floats) -> Floats:
        """Return the brightness of surfaces with unit normals (..., 3)."""
        return self.ambient + self.direct * np.maximum(normals @ self.sun, 0.0)

    def transmission(self, distance: Any) -> Any:
        """Return the share of an object's own light that passes `distance` metres of air."""
        return np.exp(distance * (-1.0 / self.haze_m))


def unit_normal(first: Floats, second: Floats) -> Floats:
    """Return the unit vector at right angles to two vectors; much faster than `np.cross`."""
    (a, b, c), (d, e, f) = first.tolist(), second.tolist()
    x, y, z = b * f - c * e, c * d - a * f, a * e - b * d
    return np.array((x, y, z)) / max(math.sqrt(x * x + y * y + z * z), 1e-9)
