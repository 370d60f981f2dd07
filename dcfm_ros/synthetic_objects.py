"""Vehicles, people and street furniture of the synthetic drives, as solids and capsules."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic_canvas import Capsules, Solid

Floats = NDArray[np.floating[Any]]
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

_PAINTS = (
    (28, 30, 34), (60, 64, 70), (150, 154, 160), (190, 194, 198), (226, 226, 222), (140, 24, 28),
    (30, 50, 110), (24, 76, 56), (176, 160, 120), (200, 120, 30), (70, 110, 150), (96, 24, 60),
)  # fmt: skip
_GLASS, _RUBBER, _RIM = (46, 54, 62), (22, 22, 24), (130, 132, 136)
# Side views: corners (z, y) from the rear bumper over the roof to the front bumper, and which
# edges between them are glass; then width, wheel base and wheel radius. All in metres.
_SHAPES: dict[str, tuple[list[tuple[float, float]], set[int], float, float, float]] = {
    'hatch': (
        [(-1.95, 0.3), (-2.0, 0.85), (-1.9, 1.0), (-1.45, 1.44), (0.1, 1.46), (0.9, 1.0),
         (1.8, 0.82), (1.95, 0.6), (1.95, 0.28)], {2, 4}, 1.7, 2.5, 0.31),
    'saloon': (
        [(-2.3, 0.3), (-2.35, 0.85), (-2.2, 1.0), (-1.6, 1.02), (-1.0, 1.42), (0.15, 1.44),
         (0.95, 0.98), (2.1, 0.8), (2.25, 0.6), (2.25, 0.28)], {3, 5}, 1.78, 2.75, 0.32),
    'van': (
        [(-2.4, 0.35), (-2.45, 1.2), (-2.4, 2.1), (-2.3, 2.2), (1.2, 2.2), (1.8, 1.3),
         (2.5, 1.05), (2.6, 0.7), (2.6, 0.35)], {1, 4}, 1.95, 3.1, 0.35),
    'bus': (
        [(-5.2, 0.4), (-5.3, 1.4), (-5.25, 2.6), (-5.1, 3.0), (5.0, 3.0), (5.2, 2.7),
         (5.3, 1.2), (5.3, 0.4)], {1, 5}, 2.5, 5.6, 0.48),
}  # fmt: skip


class _Builder:
    """Collects faces of a solid; normals point away from its middle."""

    def __init__(self, middle: tuple[float, float, float]) -> None:
        self.middle = np.array(middle)
        self.points: list[Floats] = []
        self.colours: list[Any] = []
        self.normals: list[Floats] = []
        self.classes: list[int] = []

    def face(self, points: Any, colour: Any, label: int) -> None:
        corners = np.asarray(points, dtype=float)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[1])
        normal /= max(float(np.linalg.norm(normal)), 1e-9)
        if normal @ (corners.mean(0) - self.middle) < 0:
            normal = -normal
        self.points.append(corners)
        self.colours.append(colour)
        self.normals.append(normal)
        self.classes.append(label)

    def box(self, low: Any, high: Any, colour: Any, label: int) -> None:
        (x0, y0, z0), (x1, y1, z1) = low, high
        middle, self.middle = self.middle, (np.asarray(low) + np.asarray(high)) / 2
        for z in (z0, z1):
            self.face([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], colour, label)
        for x in (x0, x1):
            self.face([(x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0)], colour, label)
        self.face([(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)], colour, label)
        self.middle = middle

    def build(self) -> Solid:
        stops = np.cumsum([0, *(len(points) for points in self.points)]).tolist()
        faces = [slice(a, b) for a, b in zip(stops[:-1], stops[1:], strict=True)]
        return Solid(
            np.concatenate(self.points), faces, np.array(self.colours, float),
            np.array(self.normals), self.classes,
        )  # fmt: skip


class Vehicle(NamedTuple):
    """A vehicle and the ground it covers."""

    solid: Solid
    length: float
    width: float


def make_vehicle(rng: np.random.Generator, kind: str) -> Vehicle:
    """Build a car ('hatch', 'saloon'), 'van' or 'bus' with windows, wheels, lights and plates."""
    profile, glass, width, base, radius = _SHAPES[kind]
    paint = np.array(_PAINTS[rng.integers(len(_PAINTS))]) * rng.uniform(0.8, 1.15)
    if kind == 'van' and rng.random() < 0.6:
        paint = np.array([224.0, 224.0, 220.0])
    body = _Builder((0, 0.7 if kind != 'bus' else 1.5, 0))
    top = max(y for _, y in profile)
    belt = 1.0 if kind in ('hatch', 'saloon') else 1.25

    def half(y: float) -> float:
        narrow = 0.18 if kind in ('hatch', 'saloon') else 0.05
        return width / 2 * (1 - narrow * max(0.0, y - 0.9) / max(top - 0.9, 0.1))

    for index, ((za, ya), (zb, yb)) in enumerate(zip(profile[:-1], profile[1:], strict=True)):
        across = [(-half(ya), ya, za), (half(ya), ya, za), (half(yb), yb, zb), (-half(yb), yb, zb)]
        body.face(across, paint, CAR)
        if index in glass:
            middle = np.mean(across, axis=0)
            body.face(middle + (np.array(across) - middle) * 0.86, _GLASS, CAR)
    _lamps(body, profile, width, bus=kind == 'bus')
    for side in (-1.0, 1.0):
        lower = [(z, min(y, belt)) for z, y in profile]
        upper = [(z, y) for z, y in profile if y >= belt - 0.05]
        for part in (lower, upper):
            body.face([(side * half(y), y, z) for z, y in part], paint, CAR)
        _side_windows(body, upper, side, half, kind)
        for z in (-base / 2, base / 2):
            for size, colour in (
                (radius * 1.15, (14, 14, 15)),
                (radius, _RUBBER),
                (radius * 0.6, _RIM),
            ):
                body.face(_disc(side * (width / 2 + 0.01), radius, z, size), colour, CAR)
    return Vehicle(body.build(), profile[-1][0] - profile[0][0], width)


def _disc(x: float, y: float, z: float, radius: float) -> Floats:
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    return np.stack([np.full(12, x), y + radius * np.sin(angle), z + radius * np.cos(angle)], 1)


def _side_windows(
    body: _Builder, upper: list[tuple[float, float]], side: float, half: Any, kind: str
) -> None:
    z, y = np.array(upper).T
    low, high = float(y.min()) + 0.06, float(y.max()) - 0.1
    order = np.argsort(z)
    panes = {'hatch': 2, 'saloon': 2, 'van': 1, 'bus': 6}[kind]
    start = float(z.max()) - 1.3 if kind == 'van' else float(z.min()) + 0.2
    edges = np.linspace(start, float(z.max()) - 0.12, panes + 1)
    for a, b in zip(edges[:-1] + 0.05, edges[1:] - 0.05, strict=True):
        # The upper corners follow the slope of windscreen and rear window.
        roof_a, roof_b = (
            min(high, float(np.interp(v, z[order], y[order])) - 0.08) for v in (a, b)
        )
        corners = [(a, low), (b, low), (b, max(roof_b, low + 0.02)), (a, max(roof_a, low + 0.02))]
        if roof_a < low + 0.2:
            corners[3] = (a + 0.35, high)
        if roof_b < low + 0.2:
            corners[2] = (b - 0.45, high)
        body.face([(side * (half(v) + 0.01), v, u) for u, v in corners], _GLASS, CAR)


def _lamps(body: _Builder, profile: list[tuple[float, float]], width: float, bus: bool) -> None:
    rear, front = profile[0][0] - 0.07, profile[-1][0] + 0.02
    level = 0.72 if not bus else 0.8
    for side in (-1.0, 1.0):
        x = sorted((side * width * 0.30, side * width * 0.47))
        body.face(_plate(x[0], x[1], level - 0.07, level + 0.1, rear), (190, 24, 22), CAR)
        body.face(_plate(x[0], x[1], level - 0.1, level + 0.04, front), (235, 235, 225), CAR)
    body.face(_plate(-0.28, 0.28, 0.5, 0.62, rear), (225, 190, 50), CAR)
    body.face(_plate(-0.28, 0.28, 0.4, 0.5, front), (230, 230, 225), CAR)
    body.face(_plate(-0.45, 0.45, 0.52, 0.66, front), (24, 24, 26), CAR)


def _plate(
    x0: float, x1: float, y0: float, y1: float, z: float
) -> list[tuple[float, float, float]]:
    return [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)]


class Person(NamedTuple):
    """Looks of one person."""

    height: float
    skin: Floats
    hair: Floats
    coat: Floats
    trousers: Floats
    bulk: float


def make_person(rng: np.random.Generator) -> Person:
    """Draw the size and the clothes of a person."""
    skin = np.array([(226, 182, 150), (190, 140, 105), (120, 82, 60)][rng.integers(3)], float)
    hair = np.array([(40, 30, 24), (90, 66, 40), (150, 120, 70), (120, 118, 116)][rng.integers(4)])
    coat = rng.uniform(15, 90, 3) if rng.random() < 0.6 else rng.uniform(30, 230, 3)
    trousers = np.array([(30, 34, 48), (46, 58, 88), (24, 24, 26), (110, 98, 80)][rng.integers(4)])
    return Person(rng.uniform(1.55, 1.88), skin, hair, coat, trousers, rng.uniform(0.85, 1.2))


def walker(
    person: Person, position: Floats, heading: float, phase: float, stride: float
) -> Capsules:
    """Pose a person on foot; `phase` (radians) swings the limbs, `stride` 0 stands still."""
    unit = person.height
    along = np.array([math.sin(heading), 0.0, math.cos(heading)])
    across = np.array([along[2], 0.0, -along[0]])
    parts: list[tuple[Floats, Floats, float, float, Any]] = []

    def at(forward: float, sideways: float, up: float) -> Floats:
        result: Floats = position + (along * forward + across * sideways + (0, up, 0)) * unit
        return result

    for side in (-1.0, 1.0):
        swing = side * stride * math.sin(phase)
        hip, knee = at(0, side * 0.055, 0.5), at(0.13 * swing + 0.02, side * 0.055, 0.27)
        bent = 0.06 * max(0.0, -side * math.cos(phase)) * stride
        foot = at(0.27 * swing - bent, side * 0.055, 0.035 + bent)
        parts += [
            (hip, knee, 0.05, 0.04, person.trousers),
            (knee, foot, 0.037, 0.025, person.trousers),
        ]
        parts.append((foot, foot + along * 0.08 * unit, 0.026, 0.02, (26, 24, 24)))
        elbow = at(-0.10 * swing, side * 0.135 * person.bulk, 0.63)
        hand = at(-0.22 * swing + 0.04, side * 0.14 * person.bulk, 0.49)
        shoulder = at(0, side * 0.105 * person.bulk, 0.79)
        parts += [
            (shoulder, elbow, 0.033, 0.028, person.coat * 0.85),
            (elbow, hand, 0.027, 0.02, person.coat * 0.8),
        ]
        parts.append((hand, hand, 0.02, 0.02, person.skin))
    parts += _torso(person, at)
    return _stack(parts, unit, PEDESTRIAN)


def _torso(person: Person, at: Any) -> list[tuple[Floats, Floats, float, float, Any]]:
    wide = 0.05 * person.bulk
    return [
        (at(0, -wide, 0.52), at(0, -wide, 0.77), 0.06, 0.055, person.coat),
        (at(0, wide, 0.52), at(0, wide, 0.77), 0.06, 0.055, person.coat * 1.08),
        (at(0, 0, 0.52), at(0, 0, 0.8), 0.07, 0.06, person.coat * 1.04),
        (at(0, 0, 0.82), at(0.01, 0, 0.88), 0.03, 0.03, person.skin),
        (at(0, 0, 0.935), at(0, 0, 0.945), 0.058, 0.055, person.hair),
        (at(0.025, 0, 0.915), at(0.025, 0, 0.93), 0.045, 0.045, person.skin),
    ]


def _stack(
    parts: list[tuple[Floats, Floats, float, float, Any]], unit: float, label: int
) -> Capsules:
    return Capsules(
        np.array([[part[0], part[1]] for part in parts]),
        np.array([[part[2], part[3]] for part in parts]) * unit,
        np.array([part[4] for part in parts], dtype=float),
        [label] * len(parts),
    )


def cyclist(person: Person, position: Floats, heading: float, phase: float) -> Capsules:
    """Pose a rider on a bicycle; `phase` (radians) turns the pedals."""
    along = np.array([math.sin(heading), 0.0, math.cos(heading)])
    across = np.array([along[2], 0.0, -along[0]])
    parts: list[tuple[Floats, Floats, float, float, Any]] = []

    def at(forward: float, sideways: float, up: float) -> Floats:
        result: Floats = position + along * forward + across * sideways + (0, up, 0)
        return result

    angle = np.linspace(0, 2 * np.pi, 11)
    for hub in (-0.52, 0.52):
        rim = [at(hub + 0.33 * math.cos(a), 0, 0.35 + 0.33 * math.sin(a)) for a in angle]
        parts += [
            (a, b, 0.025, 0.025, (28, 28, 30)) for a, b in zip(rim[:-1], rim[1:], strict=True)
        ]
    steel = person.trousers * 0.5 + (60, 20, 20)
    crank, saddle, bars = at(-0.1, 0, 0.33), at(-0.22, 0, 0.92), at(0.38, 0, 0.98)
    for a, b in ((at(-0.52, 0, 0.35), crank), (crank, saddle), (crank, bars), (saddle, bars),
                 (at(0.52, 0, 0.35), bars), (at(0.4, -0.25, 1.0), at(0.4, 0.25, 1.0))):  # fmt: skip
        parts.append((a, b, 0.022, 0.022, steel))
    shoulders, hips = at(0.08, 0, 1.42), at(-0.22, 0, 0.98)
    for side in (-1.0, 1.0):
        turn = phase + (0 if side > 0 else math.pi)
        foot = at(-0.1 + 0.17 * math.cos(turn), side * 0.1, 0.33 + 0.17 * math.sin(turn))
        knee = (hips + foot) / 2 + at(0.22, side * 0.1, 0.1) - position
        hip = hips + across * side * 0.09
        parts += [
            (hip, knee, 0.085, 0.065, person.trousers),
            (knee, foot, 0.06, 0.045, person.trousers),
        ]
        parts.append((foot, foot + along * 0.1, 0.04, 0.03, (24, 24, 24)))
        shoulder, hand = shoulders + across * side * 0.17, at(0.4, side * 0.24, 1.02)
        parts.append((shoulder, hand, 0.055, 0.035, person.coat * 0.85))
        parts.append(
            (hips + across * side * 0.07, shoulders + across * side * 0.1, 0.11, 0.1, person.coat)
        )
    parts.append((at(0.16, 0, 1.6), at(0.16, 0, 1.64), 0.1, 0.1, person.skin))
    parts.append((at(0.14, 0, 1.68), at(0.15, 0, 1.69), 0.115, 0.1, person.hair))
    return _stack(parts, 1.0, BICYCLIST)


def make_plate(points: Any, colour: Any, label: int, normal: Any) -> Solid:
    """Build one flat face from its corners (N, 3) and its outward normal."""
    corners = np.asarray(points, float)
    return Solid(
        corners,
        [slice(0, len(corners))],
        np.array([colour], float),
        np.array([normal], float),
        [label],
    )


def make_box(size: tuple[float, float, float], colour: Any, label: int) -> Solid:
    """Build a box that stands with the middle of its foot at the origin."""
    builder = _Builder((0, size[1] / 2, 0))
    builder.box(
        (-size[0] / 2, 0, -size[2] / 2), (size[0] / 2, size[1], size[2] / 2), colour, label
    )
    return builder.build()


def make_lights(rng: np.random.Generator, kind: str) -> Solid:
    """Build a sign ('disc', 'triangle', 'board', 'shop') or traffic 'lights' at the top of a post."""
    body = _Builder((0, 0, 1.0))
    if kind == 'lights':
        body.middle = np.array([0, 0.1, 0])
        body.box((-0.2, -0.45, -0.12), (0.2, 0.6, 0.12), (26, 26, 28), SIGN)
        body.middle = np.array([0, 0, 1.0])
        lit = int(rng.integers(3))
        for row, colour in enumerate(((60, 230, 120), (250, 180, 50), (250, 60, 50))):
            angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
            level = -0.25 + 0.32 * row
            disc = np.stack(
                [0.11 * np.cos(angle), level + 0.11 * np.sin(angle), np.full(10, -0.13)], 1
            )
            body.face(disc, colour if row == lit else (52, 48, 46), SIGN)
        return body.build()
    if kind in ('disc', 'triangle'):
        corners = 14 if kind == 'disc' else 3
        angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + np.pi / 2
        edge, fill = [((200, 24, 30), (236, 236, 232)), ((24, 70, 160), (24, 80, 180))][
            int(kind == 'disc' and rng.random() < 0.4)
        ]
        for size, colour in (
            (0.38, edge),
            (0.27, fill),
            (0.1, (20, 20, 22) if edge[0] > 100 else (240, 240, 240)),
        ):
            body.face(
                np.stack([size * np.cos(angle), size * np.sin(angle), np.full(corners, -0.06)], 1),
                colour,
                SIGN,
            )
        return body.build()
    wide, tall = (0.5, 1.1) if kind == 'board' else (rng.uniform(0.5, 0.9), rng.uniform(0.3, 0.6))
    low = -1.6 if kind == 'board' else -0.3
    colour = rng.uniform(10, 230, 3)
    body.face(_plate(-wide, wide, low, low + 2 * tall * 0.75, -0.06), colour, SIGN)
    for row in range(3):
        top = low + 2 * tall * 0.75 * (0.85 - 0.25 * row)
        stripe = _plate(-wide * 0.8, wide * rng.uniform(0, 0.8), top - 0.1 * tall, top, -0.065)
        body.face(stripe, 255 - colour, SIGN)
    return body.build()
