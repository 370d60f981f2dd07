"""Where points of the ground appear in an image; no ROS.

Frames as in REP 103: the base has x forward, y left and z up, with the ground at z = 0; the
camera's optical frame has x right, y down and z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.images.calibration import Window, check_same_view

Floats = NDArray[np.float64]
_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""From the optical frame to that of a camera body with x forward and z up."""
_NUM_COEFFICIENTS = {'plumb_bob': (0, 4, 5), 'rational_polynomial': (8,), 'equidistant': (4,)}
_MIN_DEPTH_M = 1e-3


@dataclass(frozen=True)
class Pose:
    """Of the camera in the base frame."""

    rotation: Floats
    """From the optical frame to the base, (3, 3)."""
    position: Floats
    """Of the optical centre in m, (3,); z is its height above the ground."""

    @classmethod
    def mounted(cls, x: float, y: float, z: float, roll: float, pitch: float, yaw: float) -> Pose:
        """A camera body (x forward, y left, z up) at a place in m, turned by angles in radians.

        Angles are those of a URDF's rpy: positive pitch looks down, positive yaw to the left.
        """
        around_x = _turn(roll, 1, 2)
        around_y = _turn(pitch, 2, 0)
        around_z = _turn(yaw, 0, 1)
        return cls(around_z @ around_y @ around_x @ _OPTICAL, np.array([x, y, z], np.float64))

    @classmethod
    def from_transform(cls, transform: Any) -> Pose:
        """From geometry_msgs/Transform of the optical frame in the base frame.

        Raises:
            ValueError: If its rotation is no unit quaternion.
        """
        place, turn = transform.translation, transform.rotation
        x, y, z, w = quaternion = np.array([turn.x, turn.y, turn.z, turn.w], np.float64)
        if not abs(float(np.linalg.norm(quaternion)) - 1) < 1e-3:
            got = ', '.join(f'{value:g}' for value in quaternion)
            raise ValueError(f'`rotation` must be a unit quaternion, got {got}')
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, np.array([place.x, place.y, place.z], np.float64))

    def to_camera(self, points: Floats) -> Floats:
        """Points of the base frame, (N, 3), in the optical frame, (N, 3)."""
        moved: Floats = (points - self.position) @ self.rotation
        return moved


@dataclass(frozen=True)
class Lens:
    """Pinhole camera with or without distortion, for images of one size."""

    width: int
    height: int
    matrix: Floats
    """Focal lengths and centre in pixels, (3, 3); (0, 0) is the middle of the first pixel."""
    distortion: Floats
    """Coefficients in OpenCV's order, (0,), (4,), (5,) or (8,)."""
    is_fisheye: bool = False
    """Whether they are those of `cv2.fisheye` (equidistant)."""

    @classmethod
    def of(cls, info: Any, width: int, height: int, *, is_rectified: bool) -> Lens:
        """The lens that took a mask of a size.

        Args:
            info: sensor_msgs/CameraInfo, of any size with the same aspect ratio.
            width: Of the mask.
            height: Of the mask.
            is_rectified: Whether the mask is of a rectified image: P counts, without distortion.

        Raises:
            ValueError: If the camera is not calibrated, its distortion is not known or its aspect
                ratio is another.
        """
        window = Window.of(info)
        if window.width == 0 or window.height == 0:
            got = f'{window.width} x {window.height}'
            raise ValueError(f'`camera_info` must have a size, got {got}')
        check_same_view('camera_info', (window.width, window.height), (width, height), 'mask')
        has_p = bool(info.p[0] and info.p[5])
        numbers = np.reshape(info.p, (3, 4))[:, :3] if is_rectified and has_p else info.k
        camera = np.array(numbers, np.float64).reshape(3, 3)
        fx, fy = camera[0, 0], camera[1, 1]
        if not (np.isfinite(camera).all() and fx > 0 and fy > 0):
            raise ValueError(
                f'`camera_info` must have focal lengths above 0, got fx {fx}, fy {fy}'
            )
        distortion = np.zeros(0) if is_rectified else np.array(info.d, np.float64)
        model = info.distortion_model or 'plumb_bob'
        if distortion.any() and distortion.size not in _NUM_COEFFICIENTS.get(model, ()):
            allowed = ', '.join(_NUM_COEFFICIENTS)
            got = f'{model} with {distortion.size} coefficients'
            raise ValueError(f'`camera_info` must have a distortion of {allowed}, got {got}')
        if not distortion.any():
            distortion = np.zeros(0)
        is_fisheye = model == 'equidistant' and distortion.size > 0
        matrix = window.matrix(width, height) @ camera
        return cls(width, height, matrix, distortion, is_fisheye)

    def to_pixels(self, points: Floats) -> Floats:
        """Where points of the optical frame, (N, 3), appear: x and y in pixels, (N, 2).

        NaN where they do not: behind the camera, or beyond the edges of the image.
        """
        pixels = np.full((len(points), 2), np.nan)
        is_ahead = points[:, 2] > _MIN_DEPTH_M
        rays = points[is_ahead, :2] / points[is_ahead, 2:]
        # Polynomials of lenses turn back outside the view that they were fitted to.
        is_near = np.hypot(*rays.T) <= self._largest_ray()
        seen = self._distort(rays[is_near])
        limits = np.array([self.width, self.height]) - 0.5
        seen[~((seen > -0.5) & (seen < limits)).all(1)] = np.nan
        pixels[np.flatnonzero(is_ahead)[is_near]] = seen
        return pixels

    def _distort(self, rays: Floats) -> Floats:
        """Pixels, (N, 2), of points at depth 1, (N, 2)."""
        if not rays.size:
            return np.empty((0, 2))
        if not self.distortion.size:
            found: Floats = rays @ self.matrix[:2, :2].T + self.matrix[:2, 2]
            return found
        still = np.zeros(3)
        points = np.column_stack([rays, np.ones(len(rays))])[:, None]
        if self.is_fisheye:
            pixels, _ = cv2.fisheye.projectPoints(
                points, still, still, self.matrix, self.distortion
            )
        else:
            pixels, _ = cv2.projectPoints(points, still, still, self.matrix, self.distortion)
        return np.asarray(pixels, np.float64).reshape(-1, 2)

    def _largest_ray(self) -> float:
        """Largest distance from the axis, at depth 1, of what the edge of the image shows."""
        if not self.distortion.size:
            return math.inf
        across, along = np.arange(self.width), np.arange(self.height)
        edges = [np.column_stack([across, np.full(self.width, y)]) for y in (0, self.height - 1)]
        edges += [np.column_stack([np.full(self.height, x), along]) for x in (0, self.width - 1)]
        pixels = np.concatenate(edges).astype(np.float64)[:, None]
        undistort = cv2.fisheye.undistortPoints if self.is_fisheye else cv2.undistortPoints
        rays = np.asarray(undistort(pixels, self.matrix, self.distortion)).reshape(-1, 2)
        return float(np.hypot(*rays.T).max()) * 1.05


def _turn(angle: float, first: int, second: int) -> Floats:
    """Rotation by an angle from one axis towards another, (3, 3)."""
    turn = np.eye(3)
    turn[[first, second], [first, second]] = math.cos(angle)
    turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
    return turn
