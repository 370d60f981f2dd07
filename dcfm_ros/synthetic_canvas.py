"""Pinhole camera and painter of the synthetic drives: every stroke paints colour and class alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic_textures import Texture

Floats = NDArray[np.floating[Any]]
NEAR_M = 0.6
_SHIFT = 4  # fractional bits of the polygon corners given to OpenCV


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
        result: Floats = (points - self.centre) @ self.rotation.T
        return result

    def to_pixels(self, points: Floats) -> Floats:
        """Project points (..., 3) in camera coordinates with z > 0 to pixels (..., 2)."""
        pixels: Floats = points[..., :2] * (self.focal_px / points[..., 2:])
        return pixels + (self.cx, self.cy)


class Light(NamedTuple):
    """Illumination of a drive."""

    sun: Floats
    """Unit vector towards the sun, shape (3,)."""
    ambient: float
    direct: float
    """Strength of sunlight on a surface facing the sun; `ambient + direct` is about 1."""
    haze: Floats
    """Colour of the air far away, RGB, shape (3,)."""
    haze_m: float
    """Distance at which 63 % of the light is haze, metres."""

    def shade(self, normals: Floats) -> Floats:
        """Return the brightness of surfaces with unit normals (..., 3)."""
        result: Floats = self.ambient + self.direct * np.maximum(normals @ self.sun, 0.0)
        return result

    def transmission(self, distance: Floats | float) -> Floats:
        """Return the share of an object's own light that passes `distance` metres of air."""
        result: Floats = np.exp(-np.maximum(distance, 0.0) / self.haze_m)
        return result


class Solid(NamedTuple):
    """Flat faces with outward normals, in a frame with x right, y up and z forward, in metres."""

    points: Floats
    """Corners of all faces, shape (N, 3)."""
    faces: list[slice]
    """Which points make each of the F faces. A later face lies on top of an earlier one."""
    colours: Floats
    """RGB of each face, shape (F, 3)."""
    normals: Floats
    """Outward unit normals, shape (F, 3)."""
    classes: list[int]


class Capsules(NamedTuple):
    """Cones with round ends between two points each, in world metres: limbs, trunks, tubes."""

    ends: Floats
    """Both end points, shape (N, 2, 3)."""
    radii: Floats
    """Radius at both ends, shape (N, 2)."""
    colours: Floats
    """RGB, shape (N, 3)."""
    classes: list[int]


class Canvas:
    """Colour image and class mask of one frame, painted from far to near."""

    def __init__(self, camera: Camera, light: Light, height: int, width: int) -> None:
        self.camera = camera
        self.light = light
        self.rgb: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
        self.mask: NDArray[np.uint8] = np.full((height, width), 255, np.uint8)

    def panel(
        self, texture: Texture, origin: Floats, right: Floats, down: Floats, label: int
    ) -> None:
        """Paint a flat textured rectangle given by its top left corner and two full edges."""
        camera = self.camera
        corners = camera.to_camera(
            np.array([origin, origin + right, origin + right + down, origin + down])
        )
        region = self._region(_clip_near(corners))
        if region is None:
            return
        (x, y, width, height), outline = region
        area = max(float(cv2.contourArea(outline.astype(np.float32))) / 4**_SHIFT, 1.0)
        level = texture.level(area)
        rows, columns = level.shape[:2]
        # Texture pixel (u, v, 1) to camera space, then to the pixels of the region.
        plane = np.stack(
            [(corners[1] - corners[0]) / columns, (corners[3] - corners[0]) / rows, corners[0]], 1
        )
        lens = np.array(
            [[camera.focal_px, 0, camera.cx - x], [0, camera.focal_px, camera.cy - y], [0, 0, 1]]
        )
        homography = lens @ plane
        if abs(np.linalg.det(homography)) < 1e-9:
            return
        pixels = cv2.warpPerspective(
            level, homography, (width, height), None, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        )
        inside = np.zeros((height, width), np.uint8)
        _fill(inside, outline, 255)
        normal = np.cross(right, down)
        normal = normal / np.linalg.norm(normal)
        if normal @ (origin - camera.centre) > 0:
            normal = -normal
        clear = float(self.light.transmission(float(corners[:, 2].mean())))
        gain = float(self.light.shade(normal)) * clear
        haze = self.light.haze * (1 - clear)
        tone = np.zeros((3, 5))
        tone[[0, 1, 2], [0, 1, 2]] = gain
        tone[:, 4] = haze
        colour = cv2.transform(pixels, tone)
        target, labels = (
            self.rgb[y : y + height, x : x + width],
            self.mask[y : y + height, x : x + width],
        )
        if texture.opaque:
            cv2.copyTo(colour, inside, target)
            labels[inside > 0] = label
            return
        opacity = cv2.bitwise_and(pixels[..., 3], inside)
        weight = opacity.astype(np.float32)[..., None] * (1 / 255)
        target[:] = target + (colour.astype(np.float32) - target) * weight
        labels[opacity >= Texture.SOLID_FROM] = label

    def solid(self, solid: Solid, position: Floats, heading: float) -> None:
        """Paint a solid that stands at `position` and points to `heading` (radians from z to x)."""
        cosine, sine = np.cos(heading), np.sin(heading)
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        world = solid.points @ turn.T + position
        normals = solid.normals @ turn.T
        first = np.array([face.start for face in solid.faces])
        seen = np.einsum('ij,ij->i', normals, world[first] - self.camera.centre) < 0
        points = self.camera.to_camera(world)
        if points[:, 2].max() < NEAR_M or not self._in_view(points):
            return
        colours = self._lit(solid.colours, normals, float(points[:, 2].mean()))
        whole = bool(points[:, 2].min() > NEAR_M)
        pixels = self.camera.to_pixels(points) if whole else points[:, :2]
        for index in np.flatnonzero(seen):
            face = solid.faces[index]
            outline = pixels[face] if whole else self._clipped_pixels(points[face])
            self.paint(outline, colours[index], solid.classes[index])

    def capsules(self, capsules: Capsules) -> None:
        """Paint cones with round ends, in the given order."""
        ends = self.camera.to_camera(capsules.ends.reshape(-1, 3)).reshape(-1, 2, 3)
        if ends[..., 2].min() < NEAR_M or not self._in_view(ends.reshape(-1, 3)):
            return
        pixels = self.camera.to_pixels(ends)
        radii = capsules.radii * self.camera.focal_px / ends[..., 2]
        along = pixels[:, 1] - pixels[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
        bow = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
        arcs = np.concatenate([angle + bow, angle + bow + np.pi], 1)
        circle = np.stack([np.cos(arcs), np.sin(arcs)], 2)
        outlines = np.repeat(pixels, 7, 1) + circle * np.repeat(radii, 7, 1)[..., None]
        facing = np.array([self.camera.rotation[2] * -1.0])
        colours = self._lit(capsules.colours, facing, float(ends[..., 2].mean()))
        for outline, colour, label in zip(outlines, colours, capsules.classes, strict=True):
            self.paint(outline, colour, label)

    def shadow(self, outline: Floats, strength: float) -> None:
        """Darken the colour, not the class, under world points (N, 3) on the ground."""
        region = self._region(_clip_near(self.camera.to_camera(outline)))
        if region is None:
            return
        (x, y, width, height), corners = region
        weight = np.zeros((height, width), np.uint8)
        _fill(weight, corners, 255)
        target = self.rgb[y : y + height, x : x + width]
        cv2.copyTo(cv2.convertScaleAbs(target, None, 1 - strength), weight, target)

    def _lit(self, colours: Floats, normals: Floats, distance: float) -> list[list[float]]:
        clear = self.light.transmission(distance)
        lit = colours * (self.light.shade(normals) * clear)[:, None] + self.light.haze * (
            1 - clear
        )
        result: list[list[float]] = np.minimum(lit, 255).tolist()
        return result

    def _in_view(self, points: Floats) -> bool:
        """Tell whether any of the camera-space points may lie between the left and right edge."""
        reach = np.maximum(points[:, 2], NEAR_M) * (self.camera.cx * 1.05 / self.camera.focal_px)
        return bool((points[:, 0] < reach).any() and (points[:, 0] > -reach).any())

    def _clipped_pixels(self, points: Floats) -> Floats | None:
        clipped = _clip_near(points)
        return None if clipped is None else self.camera.to_pixels(clipped)

    def paint(self, outline: Floats | None, colour: list[float], label: int) -> None:
        if outline is not None:
            corners = _fixed_point(outline)
            _fill(self.rgb, corners, colour)
            _fill(self.mask, corners, label)

    def _region(
        self, points: Floats | None
    ) -> tuple[tuple[int, int, int, int], NDArray[np.int32]] | None:
        """Return the box (x, y, width, height) that a polygon touches, and its corners in it."""
        if points is None:
            return None
        pixels = self.camera.to_pixels(points)
        height, width = self.mask.shape
        low = np.maximum(np.floor(pixels.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(pixels.max(0)).astype(int) + 2, (width, height))
        if (high - low).min() <= 0:
            return None
        box = (int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))
        return box, _fixed_point(pixels - low)


def _fixed_point(pixels: Floats) -> NDArray[np.int32]:
    limit = 2.0**24
    return np.clip(np.round(pixels * 2**_SHIFT), -limit, limit).astype(np.int32)


def _fill(image: NDArray[np.uint8], corners: NDArray[np.int32], value: Any) -> None:
    cv2.fillPoly(image, [corners], value, cv2.LINE_8, _SHIFT)


def _clip_near(points: Floats) -> Floats | None:
    """Cut off the part of a polygon in camera space that is closer than the near plane."""
    depth = points[:, 2] - NEAR_M
    if depth.min() >= 0:
        return points
    if depth.max() <= 0:
        return None
    kept = []
    for index in range(len(points)):
        after = (index + 1) % len(points)
        if depth[index] >= 0:
            kept.append(points[index])
        if (depth[index] >= 0) != (depth[after] >= 0):
            share = depth[index] / (depth[index] - depth[after])
            kept.append(points[index] + share * (points[after] - points[index]))
    return np.array(kept)
