"""Vehicles, signs and boxes of the synthetic drives, as solids."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dcfm_ros.synthetic.camera import Floats, unit_normal
from dcfm_ros.synthetic.canvas import Solid

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

_PAINTS = np.array(
    [
        *((28, 30, 34), (60, 64, 70), (150, 154, 160), (190, 194, 198), (226, 226, 222)),
        *((140, 24, 28), (30, 50, 110), (24, 76, 56), (176, 160, 120), (170, 90, 40)),
        *((70, 110, 150), (96, 24, 60), (40, 60, 84), (110, 112, 116), (200, 202, 204)),
    ]
)
_GLASS, _RUBBER, _RIM = (46, 54, 62), (22, 22, 24), (130, 132, 136)
_RED, _WHITE, _DARK, _YELLOW = (190, 24, 22), (235, 235, 228), (24, 24, 26), (225, 190, 50)


class Shape(NamedTuple):
    """Side view of a vehicle, metres."""

    profile: tuple[tuple[float, float], ...]
    """Corners (z, y) from the rear bumper over the roof to the front bumper."""
    glass: tuple[int, ...]
    """Which edges of the profile are windows."""
    width: float
    wheel_base: float
    wheel_radius: float
    belt: float
    """Height of the lower edge of the side windows."""
    panes: int
    """Side windows on each side."""


_SHAPES = {
    'hatch': Shape(
        ((-1.95, 0.3), (-2.0, 0.85), (-1.9, 1.0), (-1.45, 1.44), (0.1, 1.46), (0.9, 1.0),
         (1.8, 0.82), (1.95, 0.6), (1.95, 0.28)),
        (2, 4), 1.7, 2.5, 0.31, 1.0, 2,
    ),
    'saloon': Shape(
        ((-2.3, 0.3), (-2.35, 0.85), (-2.2, 1.0), (-1.6, 1.02), (-1.0, 1.42), (0.15, 1.44),
         (0.95, 0.98), (2.1, 0.8), (2.25, 0.6), (2.25, 0.28)),
        (3, 5), 1.78, 2.75, 0.32, 1.0, 2,
    ),
    'estate': Shape(
        ((-2.3, 0.32), (-2.35, 0.9), (-2.3, 1.1), (-2.0, 1.62), (0.2, 1.66), (1.1, 1.12),
         (2.0, 0.98), (2.2, 0.7), (2.2, 0.32)),
        (2, 4), 1.85, 2.7, 0.36, 1.1, 3,
    ),
    'van': Shape(
        ((-2.4, 0.35), (-2.45, 1.2), (-2.4, 2.1), (-2.3, 2.2), (1.2, 2.2), (1.8, 1.3),
         (2.5, 1.05), (2.6, 0.7), (2.6, 0.35)),
        (1, 4), 1.95, 3.1, 0.35, 1.25, 1,
    ),
    'bus': Shape(
        ((-5.2, 0.4), (-5.3, 1.4), (-5.25, 2.6), (-5.1, 3.0), (5.0, 3.0), (5.2, 2.7),
         (5.3, 1.2), (5.3, 0.4)),
        (1, 5), 2.5, 5.6, 0.48, 1.25, 6,
    ),
}  # fmt: skip
VEHICLE_KINDS = tuple(_SHAPES)
SIGN_KINDS = ('disc', 'triangle', 'board', 'plate', 'lights')


class Vehicle(NamedTuple):
    """A vehicle and the ground it covers, metres."""

    solid: Solid
    length: float
    width: float


class _Builder:
    """Collects the faces of a solid; normals point away from `middle`."""

    def __init__(self, middle: tuple[float, float, float]) -> None:
        self.middle = np.array(middle)
        self._points: list[Floats] = []
        self._colours: list[Any] = []
        self._normals: list[Floats] = []
        self._labels: list[int] = []

    def face(self, points: Any, colour: Any, label: int) -> None:
        """Add a flat face, corners (N, 3) in order."""
        corners = np.asarray(points, dtype=float)
        normal = unit_normal(corners[1] - corners[0], corners[2] - corners[1])
        self._points.append(corners)
        self._colours.append(colour)
        self._normals.append(normal * np.sign(normal @ (corners.mean(0) - self.middle)))
        self._labels.append(label)

    def plate(self, x: tuple[float, float], y: tuple[float, float], z: float, *look: Any) -> None:
        """Add an upright rectangle across the z axis."""
        self.face([(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)], *look)

    def build(self) -> Solid:
        """Return all faces as one solid."""
        stops = np.cumsum([0, *(len(points) for points in self._points)]).tolist()
        sizes = [float(np.ptp(points, axis=0).max()) for points in self._points]
        return Solid(
            np.concatenate(self._points),
            [slice(start, stop) for start, stop in pairwise(stops)],
            np.array(sizes),
            np.array(self._colours, float),
            np.array(self._normals),
            self._labels,
        )


def make_vehicle(rng: np.random.Generator, kind: str) -> Vehicle:
    """Build one of `VEHICLE_KINDS` with windows, wheels, lights and plates; it faces z."""
    shape = _SHAPES[kind]
    paint = _PAINTS[rng.integers(len(_PAINTS))] * rng.uniform(0.8, 1.15)
    if kind == 'van' and rng.random() < 0.6:
        paint = np.array([224.0, 224.0, 220.0])
    top = max(y for _, y in shape.profile)
    body = _Builder((0, top / 2, 0))
    narrow = 0.18 if top < 2 else 0.05

    def half(y: float) -> float:
        return shape.width / 2 * (1 - narrow * max(0.0, y - 0.9) / (top - 0.9))

    for index, (rear, front) in enumerate(pairwise(shape.profile)):
        across = [
            (x * half(y), y, z) for (z, y), x in ((rear, -1), (rear, 1), (front, 1), (front, -1))
        ]
        body.face(across, paint, CAR)
        if index in shape.glass:
            middle = np.mean(across, axis=0)
            body.face(middle + (np.array(across) - middle) * 0.86, _GLASS, CAR)
    rear_z, front_z = shape.profile[0][0] - 0.07, shape.profile[-1][0] + 0.02
    for side in (-1.0, 1.0):
        lamp = (side * shape.width * 0.30, side * shape.width * 0.47)
        body.plate(lamp, (0.65, 0.84), rear_z, _RED, CAR)
        body.plate(lamp, (0.62, 0.78), front_z, _WHITE, CAR)
    body.plate((-0.45, 0.45), (0.52, 0.66), front_z, _DARK, CAR)
    body.plate((-0.28, 0.28), (0.5, 0.62), rear_z, _YELLOW, CAR)
    body.plate((-0.28, 0.28), (0.4, 0.5), front_z, _WHITE, CAR)
    for side in (-1.0, 1.0):
        body.face([(side * half(y), y, z) for z, y in shape.profile], paint, CAR)
        upper = [(z, y) for z, y in shape.profile if y >= shape.belt - 0.05]
        for pane in _side_windows(shape, upper):
            body.face([(side * (half(y) + 0.01), y, z) for z, y in pane], _GLASS, CAR)
        for z in (-shape.wheel_base / 2, shape.wheel_base / 2):
            for share, colour in ((1.15, (14, 14, 15)), (1.0, _RUBBER), (0.6, _RIM)):
                ring = _circle(12) * (shape.wheel_radius * share) + (z, shape.wheel_radius)
                rim = [(side * (shape.width / 2 + 0.01), up, along) for along, up in ring]
                body.face(rim, colour, CAR)
    return Vehicle(body.build(), shape.profile[-1][0] - shape.profile[0][0], shape.width)


def _circle(corners: int) -> Floats:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _side_windows(
    shape: Shape, upper: list[tuple[float, float]]
) -> list[list[tuple[float, float]]]:
    """Return the corners (z, y) of each side window."""
    z, y = np.array(upper).T
    low, high = shape.belt + 0.06, float(y.max()) - 0.1
    start = float(z.max()) - 1.3 if shape.panes == 1 else float(z.min()) + 0.2
    edges = np.linspace(start, float(z.max()) - 0.12, shape.panes + 1)
    windows = []
    for near, far in zip(edges[:-1] + 0.05, edges[1:] - 0.05, strict=True):
        roofs = [min(high, float(np.interp(at, z, y)) - 0.08) for at in (near, far)]
        top_near = (near, roofs[0]) if roofs[0] > low + 0.2 else (near + 0.35, high)
        top_far = (far, roofs[1]) if roofs[1] > low + 0.2 else (far - 0.45, high)
        windows.append([(near, low), (far, low), top_far, top_near])
    return windows


def make_face(points: Any, colour: Any, label: int, outside: Any) -> Solid:
    """Build one flat face from its corners (N, 3); `outside` is a point on its visible side."""
    corners = np.asarray(points, float)
    builder = _Builder(tuple(2 * corners.mean(0) - outside))
    builder.face(corners, colour, label)
    return builder.build()


def make_box(size: tuple[float, float, float], colour: Any, label: int) -> Solid:
    """Build a box that stands with the middle of its foot at the origin."""
    builder = _Builder((0, size[1] / 2, 0))
    _add_box(
        builder,
        (-size[0] / 2, 0, -size[2] / 2),
        (size[0] / 2, size[1], size[2] / 2),
        colour,
        label,
    )
    return builder.build()


def _add_box(builder: _Builder, low: Any, high: Any, colour: Any, label: int) -> None:
    (x0, y0, z0), (x1, y1, z1) = low, high
    for z in (z0, z1):
        builder.plate((x0, x1), (y0, y1), z, colour, label)
    for x in (x0, x1):
        builder.face([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], colour, label)
    builder.face([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], colour, label)


def make_sign(rng: np.random.Generator, kind: str) -> Solid:
    """Build one of `SIGN_KINDS`, facing -z.

    The origin is the top of the post that carries it.
    """
    body = _Builder((0, 0.1, 0.2))
    if kind == 'lights':
        _add_box(body, (-0.2, -0.45, 0.0), (0.2, 0.6, 0.25), (26, 26, 28), SIGN)
        lit = int(rng.integers(3))
        for row, colour in enumerate(((60, 230, 120), (250, 180, 50), (250, 60, 50))):
            disc = [(x, y, -0.01) for x, y in _circle(10) * 0.11 + (0, 0.32 * row - 0.25)]
            body.face(disc, colour if row == lit else (52, 48, 46), SIGN)
        return body.build()
    if kind in ('disc', 'triangle'):
        blue = kind == 'disc' and rng.random() < 0.4
        rim, fill, inner = (
            ((24, 70, 160), (24, 80, 180), _WHITE) if blue else ((200, 24, 30), _WHITE, _DARK)
        )
        radius = rng.uniform(0.3, 0.45)
        for share, colour in ((1.0, rim), (0.72, fill), (0.25, inner)):
            outline = _circle(14 if kind == 'disc' else 3) * (radius * share)
            body.face([(x, y, -0.06) for x, y in outline], colour, SIGN)
        return body.build()
    half, low, tall = (0.5, -1.6, 1.7) if kind == 'board' else (rng.uniform(0.5, 0.9), -0.4, 0.6)
    field = np.clip(rng.uniform(30, 220) + rng.uniform(-70, 70, 3), 10, 240)
    body.plate((-half, half), (low, low + tall), -0.06, field, SIGN)
    for row in range(3):
        top = low + tall * (0.9 - 0.28 * row)
        text = (-half * 0.85, half * rng.uniform(-0.2, 0.85))
        body.plate(text, (top - 0.13 * tall, top), -0.065, 255 - field, SIGN)
    return body.build()
