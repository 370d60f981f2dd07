"""Cars, cyclists and pedestrians that move along the synthetic street, as functions of time."""

from __future__ import annotations

from collections.abc import Callable
import math

import numpy as np

from dcfm_ros.synthetic.items import Item, make_body_item, make_vehicle_item
from dcfm_ros.synthetic.people import Person, make_person, pose_cyclist, pose_walker
from dcfm_ros.synthetic.street import Street

Mover = Callable[[float, float], Item]
"""Gives the item for a camera at z (metres) and a time (seconds)."""


def make_traffic(seed: int, street: Street, density: float) -> list[Mover]:
    """Return everything that moves on the street; `density` 1 is usual traffic."""
    rng = np.random.default_rng([seed, 4])
    people = [make_person(rng) for _ in range(12)]
    movers: list[Mover] = []
    if rng.random() < 0.75 * density:
        movers.append(_leader(rng, street))
    movers += [_oncoming(rng, street) for _ in range(rng.poisson(3.5 * density))]
    for _ in range(rng.poisson(17 * density)):
        movers.append(_walker(rng, street, people[rng.integers(len(people))]))
    for _ in range(rng.poisson(3 * density)):
        movers.append(_cyclist(rng, street, people[rng.integers(len(people))]))
    return movers


def _track(
    rng: np.random.Generator, speed_mps: float, reach: float
) -> Callable[[float, float], float]:
    """Return z of something at constant speed over the ground.

    What falls `reach` metres out of sight comes back at the other end, so that the street never
    runs empty.
    """
    start = rng.uniform(0, reach)

    def z_at(z: float, time_s: float) -> float:
        return z + (start + speed_mps * time_s - z) % reach - 8

    return z_at


def _leader(rng: np.random.Generator, street: Street) -> Mover:
    vehicle = street.looks.vehicles[rng.integers(len(street.looks.vehicles))]
    gap, swing = rng.uniform(7, 32) + vehicle.length / 2, rng.uniform(0, 3)
    pace, phase = rng.uniform(0.4, 1.0), rng.uniform(0, 6.3)

    def item(z: float, time_s: float) -> Item:
        there = z + gap + swing * math.sin(pace * time_s + phase)
        return make_vehicle_item(vehicle, street.at(street.lane, there), street.heading(there))

    return item


def _oncoming(rng: np.random.Generator, street: Street) -> Mover:
    vehicle = street.looks.vehicles[rng.integers(len(street.looks.vehicles))]
    z_at = _track(rng, -rng.uniform(6, 11), 120)

    def item(z: float, time_s: float) -> Item:
        there = z_at(z, time_s)
        heading = street.heading(there) + math.pi
        return make_vehicle_item(vehicle, street.at(-street.lane, there), heading)

    return item


def _walker(rng: np.random.Generator, street: Street, person: Person) -> Mover:
    kind = str(rng.choice(['stands', 'walks', 'comes', 'crosses'], p=[0.2, 0.36, 0.36, 0.08]))
    pace = 0.0 if kind == 'stands' else rng.uniform(1.0, 1.6)
    speed = {'walks': pace, 'comes': -pace}.get(kind, 0.0)
    side = float(rng.choice([-1.0, 1.0]))
    offset = side * (street.half_road + rng.uniform(0.6, street.pavement - 0.3))
    z_at, phase, gaze = _track(rng, speed, 96), rng.uniform(0, 6.3), rng.uniform(0, 6.3)

    def item(z: float, time_s: float) -> Item:
        there, across = z_at(z, time_s), offset
        heading = street.heading(there) + (math.pi if kind == 'comes' else 0.0)
        if kind == 'stands':
            heading = gaze
        elif kind == 'crosses':
            across = side * ((pace * time_s + phase) % (2 * street.edge) - street.edge)
            heading = side * math.pi / 2
        place, swing = street.at(across, there), phase + 4.2 * pace * time_s
        stride = 0.95 if pace else 0.1
        return make_body_item(
            lambda: pose_walker(person, place, heading, swing, stride), place, heading, 0.35
        )

    return item


def _cyclist(rng: np.random.Generator, street: Street, person: Person) -> Mover:
    side = float(rng.choice([-1.0, 1.0], p=[0.6, 0.4]))
    pace = rng.uniform(3.5, 6.5)
    room = 2.5 if street.parked[int(side > 0)] > 0.1 else 0.8
    z_at, phase = _track(rng, -side * pace, 98), rng.uniform(0, 6.3)

    def item(z: float, time_s: float) -> Item:
        there = z_at(z, time_s)
        heading = street.heading(there) + (math.pi if side > 0 else 0.0)
        place, turn = street.at(side * (street.half_road - room), there), phase - pace * time_s
        return make_body_item(
            lambda: pose_cyclist(person, place, heading, turn), place, heading, 0.9
        )

    return item
