"""Painter of the synthetic drives: every stroke paints colour and class alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic.camera import Camera, Floats, Light
from dcfm_ros.synthetic.textures import Texture

_NEAR_M = 0.6
_TINY_PX = 30  # a panel of fewer pixels gets one colour
_SHIFT = 4  # fractional bits of the polygon corners given to OpenCV


class Panel(NamedTuple):
    """A flat textured rectangle in the world."""

    corners: Floats
    """From the top left of the texture clockwise, world metres, shape (4, 3)."""
    normal: Floats
    texture: Texture
    label: int
    two_sided: bool


class Solid(NamedTuple):
    """Flat faces with outward normals, in a frame with x right, y up and z forward, in metres."""

    points: Floats
    """Corners of all faces, shape (N, 3)."""
    faces: list[slice]
    """Which points make each of the F faces. A later face lies on top of an earlier one."""
    sizes: Floats
    """Largest extent of each face, metres, shape (F,)."""
    colours: Floats
    """RGB of each face, shape (F, 3)."""
    normals: Floats
    """Outward unit normals, shape (F, 3)."""
    labels: list[int]


class Capsules(NamedTuple):
    """Cones with round ends between two points each, in world metres: limbs, trunks, tubes."""

    ends: Floats
    """Both end points, shape (N, 2, 3)."""
    radii: Floats
    """Radius at both ends, shape (N, 2)."""
    colours: Floats
    """RGB, shape (N, 3)."""
    label: int


class Canvas:
    """Colour image and class mask of one frame, painted from far to near."""

    def __init__(self, camera: Camera, light: Light, height: int, width: int) -> None:
        self.camera = camera
        self.light = light
        self.rgb: NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
        self.mask: NDArray[np.uint8] = np.full((height, width), 255, np.uint8)

    def panel(self, panel: Panel) -> None:
        """Paint a textured rectangle; one that is not two-sided is seen from its front only."""
        camera = self.camera
        facing = float(panel.normal @ (panel.corners[0] - camera.centre))
        if facing > 0 and not panel.two_sided:
            return
        corners = camera.to_camera(panel.corners)
        region = self._region(corners)
        if region is None:
            return
        (x, y, width, height), outline = region
        clear = float(self.light.transmission(max(float(corners[:, 2].sum()) / 4, 0.0)))
        normal = -panel.normal if facing > 0 else panel.normal
        gain, haze = float(self.light.shade(normal)) * clear, self.light.haze * (1 - clear)
        box = slice(y, y + height), slice(x, x + width)
        area = cv2.contourArea(outline) / 4**_SHIFT
        if area < _TINY_PX and panel.texture.opaque:
            _fill(self.rgb[box], outline, (panel.texture.mean * gain + haze).tolist())
            _fill(self.mask[box], outline, panel.label)
            return
        level = panel.texture.level(max(area, 1.0))
        # Texture pixel (u, v, 1) to camera space, then to the pixels of the region.
        rows, columns = level.shape[:2]
        right, down = (corners[1] - corners[0]) / columns, (corners[3] - corners[0]) / rows
        plane = np.array([right, down, corners[0]]).T
        plane[:2] *= camera.focal_px
        plane[:2] += np.array([[camera.cx - x], [camera.cy - y]]) * plane[2]
        pixels = cv2.warpPerspective(
            level, plane, (width, height), None, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        )
        inside = np.zeros((height, width), np.uint8)
        _fill(inside, outline, 255)
        tone = np.zeros((3, 5))
        tone[[0, 1, 2], [0, 1, 2]] = gain
        tone[:, 4] = haze
        colour = cv2.transform(pixels, tone)
        if panel.texture.opaque:
            cv2.copyTo(colour, inside, self.rgb[box])
            _fill(self.mask[box], outline, panel.label)
            return
        opacity = cv2.bitwise_and(cv2.extractChannel(pixels, 3), inside)
        weight = opacity * np.float32(1 / 255)
        self.rgb[box] = cv2.blendLinear(colour, self.rgb[box].copy(), weight, 1 - weight)
        self.mask[box][opacity >= panel.texture.solid_from] = panel.label

    def solid(self, solid: Solid, position: Floats, heading: float) -> None:
        """Paint a solid at `position`; `heading` is in radians from z to x."""
        cosine, sine = np.cos(heading), np.sin(heading)
        turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
        world = solid.points @ turn + position
        points = self.camera.to_camera(world)
        if not self._in_view(points):
            return
        normals = solid.normals @ turn
        first = world[[face.start for face in solid.faces]]
        distance = float(points[:, 2].mean())
        seen = np.einsum('ij,ij->i', normals, first - self.camera.centre) < 0
        seen &= solid.sizes * self.camera.focal_px > max(distance, 1.0)
        colours = self._lit(solid.colours, normals, distance)
        whole = bool(points[:, 2].min() > _NEAR_M)
        corners = _fixed_point(self.camera.to_pixels(points)) if whole else None
        for index in np.flatnonzero(seen).tolist():
            face = solid.faces[index]
            outline = self._outline(points[face]) if corners is None else corners[face]
            if outline is not None:
                _fill(self.rgb, outline, colours[index])
                _fill(self.mask, outline, solid.labels[index])

    def capsules(self, capsules: Capsules) -> None:
        """Paint cones with round ends, in the given order."""
        ends = self.camera.to_camera(capsules.ends.reshape(-1, 3))
        if ends[:, 2].min() < _NEAR_M or not self._in_view(ends):
            return
        pixels = self.camera.to_pixels(ends).reshape(-1, 2, 2)
        radii = capsules.radii * self.camera.focal_px / ends[:, 2].reshape(-1, 2)
        along = pixels[:, 1] - pixels[:, 0]
        angle = np.arctan2(along[:, 1], along[:, 0])[:, None]
        arcs = angle + np.concatenate([_HALF_CIRCLE, _HALF_CIRCLE + np.pi])
        circle = np.stack([np.cos(arcs), np.sin(arcs)], 2)
        count = len(_HALF_CIRCLE)
        outlines = np.repeat(pixels, count, 1) + circle * np.repeat(radii, count, 1)[..., None]
        facing = -self.camera.rotation[2:]
        colours = self._lit(capsules.colours, facing, float(ends[:, 2].mean()))
        for outline, colour in zip(_fixed_point(outlines), colours, strict=True):
            _fill(self.rgb, outline, colour)
            _fill(self.mask, outline, capsules.label)

    def polygon(self, pixels: Floats, colour: Floats, label: int) -> None:
        """Paint a polygon given in pixels (N, 2) as it is, without light or haze."""
        outline = _fixed_point(pixels)
        _fill(self.rgb, outline, np.clip(colour, 0, 255).tolist())
        _fill(self.mask, outline, label)

    def shadow(self, outline: Floats, strength: float) -> None:
        """Darken the colour, not the class, under world points (N, 3) on the ground."""
        region = self._region(self.camera.to_camera(outline))
        if region is None:
            return
        (x, y, width, height), corners = region
        inside = np.zeros((height, width), np.uint8)
        _fill(inside, corners, 255)
        target = self.rgb[y : y + height, x : x + width]
        cv2.copyTo(cv2.convertScaleAbs(target, None, 1 - strength), inside, target)

    def _lit(self, colours: Floats, normals: Floats, distance: float) -> list[list[float]]:
        clear = self.light.transmission(max(distance, 0.0))
        lit = colours * (self.light.shade(normals) * clear)[:, None] + self.light.haze * (
            1 - clear
        )
        return np.minimum(lit, 255).tolist()

    def _in_view(self, points: Floats) -> bool:
        """Whether camera-space points may lie in front of the lens and between its sides."""
        depth = points[:, 2]
        if depth.max() < _NEAR_M:
            return False
        reach = np.maximum(depth, _NEAR_M) * (self.camera.cx * 1.05 / self.camera.focal_px)
        return bool((points[:, 0] < reach).any() and (points[:, 0] > -reach).any())

    def _outline(self, points: Floats) -> NDArray[np.int32] | None:
        clipped = _clip_near(points.tolist())
        return _fixed_point(self.camera.to_pixels(np.array(clipped))) if clipped else None

    def _region(
        self, points: Floats
    ) -> tuple[tuple[int, int, int, int], NDArray[np.int32]] | None:
        """Return the box (x, y, width, height) that a polygon touches, and its corners in it."""
        # Plain numbers: for the few corners of a panel they are much faster than arrays.
        rows = _clip_near(points.tolist())
        if not rows:
            return None
        camera, (height, width) = self.camera, self.mask.shape
        xs = [camera.focal_px * x / z + camera.cx for x, _, z in rows]
        ys = [camera.focal_px * y / z + camera.cy for _, y, z in rows]
        left, top = max(int(min(xs)) - 1, 0), max(int(min(ys)) - 1, 0)
        right, bottom = min(int(max(xs)) + 2, width), min(int(max(ys)) + 2, height)
        if right <= left or bottom <= top:
            return None
        corners = [(x - left, y - top) for x, y in zip(xs, ys, strict=True)]
        return (left, top, right - left, bottom - top), _fixed_point(np.array(corners))


_HALF_CIRCLE = np.linspace(np.pi / 2, 3 * np.pi / 2, 6)


def _fixed_point(pixels: Floats) -> NDArray[np.int32]:
    # OpenCV needs corners that fit 32 bits; a corner this far outside is out of sight anyway.
    limit = 2.0**24
    corners: NDArray[np.int32] = np.clip(pixels * 2**_SHIFT, -limit, limit).astype(np.int32)
    return corners


def _fill(image: NDArray[np.uint8], corners: NDArray[np.int32], value: Any) -> None:
    cv2.fillPoly(image, [corners], value, cv2.LINE_8, _SHIFT)


def _clip_near(points: list[list[float]]) -> list[list[float]]:
    """Cut off the part of a polygon in camera space that is closer than the near plane."""
    if min(point[2] for point in points) >= _NEAR_M:
        return points
    kept = []
    for point, after in zip(points, [*points[1:], points[0]], strict=True):
        if point[2] >= _NEAR_M:
            kept.append(point)
        if (point[2] >= _NEAR_M) != (after[2] >= _NEAR_M):
            share = (_NEAR_M - point[2]) / (after[2] - point[2])
            kept.append([a + share * (b - a) for a, b in zip(point, after, strict=True)])
    return kept
