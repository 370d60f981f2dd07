"""Pedestrians and cyclists of the synthetic drives, posed as capsules."""

from __future__ import annotations

from itertools import pairwise
import math
from typing import Any, NamedTuple

import numpy as np

from dcfm_ros.synthetic.camera import Floats
from dcfm_ros.synthetic.canvas import Capsules
from dcfm_ros.synthetic.solids import BICYCLIST, PEDESTRIAN

_SHOE = np.array([26.0, 24.0, 24.0])


class Person(NamedTuple):
    """Looks of one person."""

    height: float
    """Metres."""
    bulk: float
    """Width relative to a slim person."""
    skin: Floats
    hair: Floats
    coat: Floats
    trousers: Floats


class _Body:
    """Collects capsules given in (forward, sideways, up) of someone who stands at a place."""

    def __init__(self, place: Floats, heading: float, unit: float) -> None:
        self._place = place
        self._unit = unit
        ahead = (math.sin(heading), 0.0, math.cos(heading))
        aside = (math.cos(heading), 0.0, -math.sin(heading))
        self._axes = np.array([ahead, aside, (0.0, 1.0, 0.0)])
        self._rows: list[tuple[Any, ...]] = []

    def add(self, start: Any, end: Any, radii: tuple[float, float], colour: Any) -> None:
        self._rows.append((*start, *end, *radii, *colour))

    def build(self, label: int) -> Capsules:
        rows = np.array(self._rows, float)
        ends = self._place + (rows[:, :6].reshape(-1, 2, 3) * self._unit) @ self._axes
        return Capsules(ends, rows[:, 6:8] * self._unit, rows[:, 8:], label)


def make_person(rng: np.random.Generator) -> Person:
    """Draw the size and the clothes of a person."""
    skin = np.array([(226, 182, 150), (190, 140, 105), (120, 82, 60)], float)[rng.integers(3)]
    hair = np.array([(40, 30, 24), (90, 66, 40), (150, 120, 70), (120, 118, 116)])[rng.integers(4)]
    coat = 255 * rng.uniform(0.2, 0.88) ** 2 + rng.uniform(-1, 1, 3) * rng.choice([12, 12, 60])
    coat = coat.clip(12, 235)
    trousers = np.array([(30, 34, 48), (46, 58, 88), (24, 24, 26), (110, 98, 80)])[rng.integers(4)]
    return Person(rng.uniform(1.55, 1.88), rng.uniform(0.85, 1.2), skin, hair, coat, trousers)


def pose_walker(
    person: Person, place: Floats, heading: float, phase: float, stride: float
) -> Capsules:
    """Pose a person on foot; `phase` (radians) swings the limbs, `stride` 0 stands still."""
    body = _Body(place, heading, person.height)
    swing = stride * math.sin(phase)
    for side in (-1.0, 1.0):
        step = side * swing
        lift = 0.06 * stride * max(0.0, -side * math.cos(phase))
        hip, knee = (0, side * 0.055, 0.5), (0.13 * step + 0.02, side * 0.055, 0.27)
        foot = (0.27 * step - lift, side * 0.055, 0.035 + lift)
        body.add(hip, knee, (0.05, 0.04), person.trousers)
        body.add(knee, foot, (0.037, 0.025), person.trousers)
        body.add(foot, (foot[0] + 0.08, foot[1], foot[2]), (0.026, 0.02), _SHOE)
        wide = side * person.bulk
        elbow, hand = (-0.1 * step, wide * 0.135, 0.63), (0.04 - 0.22 * step, wide * 0.14, 0.49)
        body.add((0, wide * 0.105, 0.79), elbow, (0.033, 0.028), person.coat * 0.85)
        body.add(elbow, hand, (0.027, 0.02), person.coat * 0.8)
        body.add(hand, hand, (0.02, 0.02), person.skin)
    for offset, tone in ((-0.05, 1.0), (0.05, 1.08), (0.0, 1.04)):
        wide = offset * person.bulk
        body.add((0, wide, 0.52), (0, wide, 0.78), (0.065, 0.058), person.coat * tone)
    body.add((0, 0, 0.82), (0.01, 0, 0.88), (0.03, 0.03), person.skin)
    body.add((0, 0, 0.935), (0, 0, 0.945), (0.058, 0.055), person.hair)
    body.add((0.025, 0, 0.915), (0.025, 0, 0.93), (0.045, 0.045), person.skin)
    return body.build(PEDESTRIAN)


def pose_cyclist(person: Person, place: Floats, heading: float, phase: float) -> Capsules:
    """Pose a rider on a bicycle; `phase` (radians) turns the pedals."""
    body = _Body(place, heading, person.height / 1.75)
    for hub in (-0.52, 0.52):
        rim = [(hub + 0.33 * x, 0, 0.35 + 0.33 * y) for x, y in _RIM]
        for start, end in pairwise(rim):
            body.add(start, end, (0.028, 0.028), _SHOE)
    steel = person.trousers * 0.5 + np.array((60, 20, 20))
    crank, saddle, bars = (-0.1, 0, 0.33), (-0.22, 0, 0.92), (0.38, 0, 0.98)
    tubes: list[tuple[Any, Any]] = [((-0.52, 0, 0.35), crank), ((0.52, 0, 0.35), bars)]
    tubes += [(crank, saddle), (crank, bars), (saddle, bars)]
    tubes.append(((0.4, -0.25, 1.0), (0.4, 0.25, 1.0)))
    for start, end in tubes:
        body.add(start, end, (0.024, 0.024), steel)
    for side in (-1.0, 1.0):
        turn = phase if side > 0 else phase + math.pi
        foot = (-0.1 + 0.17 * math.cos(turn), side * 0.1, 0.33 + 0.17 * math.sin(turn))
        knee = (0.06 + foot[0] / 2, side * 0.12, 0.59 + foot[2] / 2)
        body.add((-0.22, side * 0.09, 0.98), knee, (0.085, 0.065), person.trousers)
        body.add(knee, foot, (0.06, 0.045), person.trousers)
        body.add(foot, (foot[0] + 0.1, foot[1], foot[2]), (0.04, 0.03), _SHOE)
        body.add(
            (0.08, side * 0.17, 1.42), (0.4, side * 0.24, 1.02), (0.055, 0.035), person.coat * 0.85
        )
        hip, shoulder = (-0.22, side * 0.07, 0.98), (0.08, side * 0.1, 1.42)
        body.add(hip, shoulder, (0.11, 0.1), person.coat)
    body.add((0.16, 0, 1.6), (0.16, 0, 1.64), (0.1, 0.1), person.skin)
    body.add((0.14, 0, 1.68), (0.15, 0, 1.69), (0.115, 0.1), person.hair)
    return body.build(BICYCLIST)


_RIM = [(math.cos(angle), math.sin(angle)) for angle in np.linspace(0, 2 * math.pi, 11)]
