"""What stands and moves along the synthetic street, block by block, without an end."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic_canvas import Canvas, Capsules
from dcfm_ros.synthetic_objects import (
    BUILDING,
    FENCE,
    PAVEMENT,
    POLE,
    ROAD,
    TREE,
    Vehicle,
    cyclist,
    make_box,
    make_lights,
    make_person,
    make_plate,
    make_vehicle,
    walker,
)  # fmt: skip
from dcfm_ros.synthetic_textures import (
    Facade,
    Texture,
    make_facade,
    make_fence,
    make_tree,
    spectral_noise,
)  # fmt: skip

Floats = NDArray[np.floating[Any]]
BLOCK_M = 48.0
RANGE_M = 150.0
_THEMES = ('terrace', 'gardens', 'park')


class Item(NamedTuple):
    """Something to paint."""

    z: float
    """Far end along the road, metres; items are painted from far to near."""
    paint: Callable[[Canvas], None]
    z_near: float
    """Near end along the road, metres."""


class Block(NamedTuple):
    """A stretch of `BLOCK_M` metres of the street."""

    items: list[Item]
    themes: tuple[str, str]
    """What lines the left and the right side: 'terrace', 'gardens' or 'park'."""
    side_roads: tuple[float, float]
    """Width of the side road at the start of the block, left and right, metres; 0 is none."""
    shades: Floats
    """Height of what throws shadows from the left and the right side, metres, shape (2,)."""


class Street:
    """An endless street that depends on a seed; the centre line runs along z with gentle bends."""

    def __init__(self, seed: int, density: float, speed_mps: float) -> None:
        self._seed = seed
        self._density = density
        self._speed_mps = speed_mps
        rng = np.random.default_rng([seed, 1])
        self.noise = spectral_noise(rng, 256, 1.0)
        self.half_road = rng.uniform(4.2, 6.0)
        self.pavement = rng.uniform(1.8, 3.6)
        self.bends = [(rng.uniform(1, 5), rng.uniform(40, 70), rng.uniform(0, 6.3)),
                      (rng.uniform(0, 1.5), rng.uniform(15, 30), rng.uniform(0, 6.3))]  # fmt: skip
        self._theme_odds = rng.dirichlet((1.6, 0.9, 0.7))
        self._bare = rng.random() < 0.5
        self._parked = rng.uniform(0, 0.8, 2) * (self.half_road > 4.6) * density
        self._facades: dict[int, Facade] = {}
        self._trees = [make_tree(rng, self.noise, self._bare) for _ in range(4)]
        self._fences = {
            kind: make_fence(rng, self.noise, kind) for kind in ('railing', 'boards', 'hedge')
        }
        self._vehicles = [
            make_vehicle(
                rng, str(rng.choice(['hatch', 'saloon', 'van', 'bus'], p=[0.45, 0.35, 0.15, 0.05]))
            )
            for _ in range(12)
        ]
        self._people = [make_person(rng) for _ in range(10)]
        self._post_colour = np.array(
            [(70, 74, 76), (40, 44, 44), (120, 124, 122), (36, 60, 50)][rng.integers(4)]
        )
        self._blocks: dict[int, Block] = {}
        self._movers = self._make_movers(rng)
        self.lane = -0.42 * min(self.half_road, 4.6)
        self.dashes = rng.random() < 0.8
        self.yellow = rng.random() < 0.35
        self.edge_line = rng.random() < 0.4
        self.edge_tint = (206, 176, 70) if self.yellow else (225, 225, 220)
        grey = rng.uniform(70, 118)
        self.ground_colours = np.zeros((11, 3), np.float32)
        self.ground_colours[ROAD] = grey + rng.uniform(-4, 4, 3)
        self.ground_colours[PAVEMENT] = grey * rng.uniform(1.05, 1.5) + rng.uniform(-6, 6, 3)
        self.ground_colours[TREE] = np.array([84, 98, 48]) * rng.uniform(0.8, 1.2)

    def centre(self, z: Any) -> Any:
        """Return x of the centre line at z, metres."""
        return sum(size * np.sin(z / length + phase) for size, length, phase in self.bends)

    def heading(self, z: float) -> float:
        """Return the direction of the road at z, radians from z to x."""
        slope = sum(
            size / length * math.cos(z / length + phase) for size, length, phase in self.bends
        )
        return math.atan(slope)

    def at(self, offset: float, z: float, height: float = 0.0) -> Floats:
        """Return the world point `offset` metres to the right of the centre line."""
        return np.array([float(self.centre(z)) + offset, height, z])

    def block(self, index: int) -> Block:
        """Return a block; it is built when it is first asked for."""
        if index not in self._blocks:
            self._blocks[index] = self._build(index)
        return self._blocks[index]

    def visible(self, z: float, time_s: float) -> list[Item]:
        """Return all that stands between z and the end of sight, from far to near."""
        first, last = math.floor(z / BLOCK_M), math.floor((z + RANGE_M) / BLOCK_M)
        items = [item for index in range(first - 1, last + 1) for item in self.block(index).items]
        items += [mover(z, time_s) for mover in self._movers]
        items = [item for item in items if item.z > z + 0.5 and item.z_near < z + RANGE_M]
        return sorted(items, key=lambda item: -item.z)

    def _build(self, index: int) -> Block:
        rng = np.random.default_rng([self._seed, 2, index + 1000])
        items: list[Item] = []
        themes, side_roads, shades = [], [], []
        start = index * BLOCK_M
        for side in (-1.0, 1.0):
            theme = str(rng.choice(_THEMES, p=self._theme_odds))
            gap = rng.uniform(6, 9) if rng.random() < 0.25 else 0.0
            themes.append(theme)
            side_roads.append(gap)
            edge = self.half_road + self.pavement
            z, stop = start + (gap + 2 if gap else 0), start + BLOCK_M
            if theme == 'terrace':
                shades.append(self._houses(rng, items, side, edge, z, stop, 0.0))
            elif theme == 'gardens':
                setback = rng.uniform(3, 8)
                shades.append(0.6 * self._houses(rng, items, side, edge + setback, z, stop, 3.0))
                kind = str(rng.choice(['railing', 'boards', 'hedge']))
                self._fence(items, side, edge, z, stop, kind, rng.uniform(0.8, 1.6))
                self._tree_row(rng, items, side, edge + 1.5, z, stop, 15.0)
            else:
                if rng.random() < 0.7:
                    self._fence(items, side, edge, z, stop, 'railing', rng.uniform(0.9, 1.4))
                self._tree_row(rng, items, side, edge + 3.0, z, stop, 6.0)
                self._tree_row(rng, items, side, edge + 11.0, z, stop, 5.0)
                shades.append(3.0)
            if theme == 'terrace' and self.pavement > 2.6 and rng.random() < 0.3:
                self._tree_row(rng, items, side, self.half_road + 0.9, z, stop, 14.0)
            self._furniture(rng, items, side, z, stop, gap)
            self._park(rng, items, side, z, stop)
        return Block(
            items, (themes[0], themes[1]), (side_roads[0], side_roads[1]), np.array(shades)
        )

    def _facade(self, index: int) -> Facade:
        if index not in self._facades:
            rng = np.random.default_rng([self._seed, 3, index])
            self._facades[index] = make_facade(rng, self.noise)
        return self._facades[index]

    def _houses(
        self, rng: np.random.Generator, items: list[Item], side: float, offset: float,
        z: float, stop: float, spacing: float,
    ) -> float:  # fmt: skip
        heights = [0.0]
        while stop - z > 4:
            house = self._facade(int(rng.integers(9)))
            length = min(house.width, stop - z)
            items.append(self._house(rng, house, side, offset, z, z + length))
            heights.append(house.height)
            z += length + spacing * rng.uniform(0.3, 1.6)
        return float(np.mean(heights))

    def _house(
        self,
        rng: np.random.Generator,
        house: Facade,
        side: float,
        offset: float,
        z0: float,
        z1: float,
    ) -> Item:
        near, far = self.at(side * offset, z0), self.at(side * offset, z1)
        deep = np.array([side * 9.0, 0, 0])
        up = np.array([0, house.height, 0])
        along = far - near
        ridge = deep * 0.5 + (0, house.rise, 0)
        gable = make_plate(
            [near + up, near + up + ridge, near + up + deep],
            house.wall_colour,
            BUILDING,
            (0, 0, -1),
        )
        chimney = make_box((1.0, 1.8, 0.8), np.array(house.wall_colour) * 0.9, BUILDING)
        stack = near + up + ridge + along * 0.12 + (0, -0.4, 0) if rng.random() < 0.6 else None

        def paint(canvas: Canvas) -> None:
            canvas.panel(house.wall, near + up, deep, -up, BUILDING)
            if house.rise:
                canvas.solid(gable, np.zeros(3), 0.0)
                if stack is not None:
                    canvas.solid(chimney, stack, 0.0)
                canvas.panel(house.roof, near + up + ridge, along, -ridge, BUILDING)
            canvas.panel(house.front, near + up, along, -up, BUILDING)

        return Item(z1, paint, z0)

    def _fence(
        self,
        items: list[Item],
        side: float,
        offset: float,
        z: float,
        stop: float,
        kind: str,
        height: float,
    ) -> None:
        texture, label = self._fences[kind], TREE if kind == 'hedge' else FENCE
        while z < stop - 1:
            end = min(z + 4, stop)
            top, along = (
                self.at(side * offset, z, height),
                self.at(side * offset, end) - self.at(side * offset, z),
            )
            items.append(_panel_item(texture, top, along, np.array([0, -height, 0]), label))
            z = end

    def _tree_row(
        self, rng: np.random.Generator, items: list[Item], side: float, offset: float,
        z: float, stop: float, spacing: float,
    ) -> None:  # fmt: skip
        z += rng.uniform(0, spacing)
        while z < stop:
            foot = self.at(side * (offset + rng.uniform(-0.3, 1.2)), z)
            texture = self._trees[rng.integers(len(self._trees))]
            items.append(_tree_item(texture, foot, rng.uniform(5, 10), rng.uniform(0.75, 1.1)))
            z += spacing * rng.uniform(0.7, 1.5)

    def _furniture(
        self,
        rng: np.random.Generator,
        items: list[Item],
        side: float,
        z: float,
        stop: float,
        gap: float,
    ) -> None:
        kerb = side * (self.half_road + 0.45)
        if rng.random() < 0.8:
            foot = self.at(kerb, z + rng.uniform(2, 30))
            items.append(_lamp_item(foot, -side * 1.6, rng.uniform(6, 8.5), self._post_colour))
        if gap and rng.random() < 0.8:
            items.append(_sign_item(rng, self.at(kerb, z + 0.5), self._post_colour, 'lights'))
        for _ in range(rng.poisson(1.6)):
            kind = str(
                rng.choice(['disc', 'disc', 'triangle', 'board', 'board', 'shop', 'bollard'])
            )
            place = self.at(kerb + side * rng.uniform(0, 0.4), rng.uniform(z, stop))
            items.append(_sign_item(rng, place, self._post_colour, kind))

    def _park(
        self, rng: np.random.Generator, items: list[Item], side: float, z: float, stop: float
    ) -> None:
        share = self._parked[int(side > 0)]
        z += rng.uniform(0, 5)
        while z < stop - 3:
            vehicle = self._vehicles[rng.integers(len(self._vehicles))]
            if rng.random() < share and vehicle.length < 6:
                middle = z + vehicle.length / 2
                turned = math.pi if side > 0 or rng.random() < 0.2 else 0.0
                place = self.at(side * (self.half_road - vehicle.width / 2 - 0.2), middle)
                items.append(_vehicle_item(vehicle, place, self.heading(middle) + turned))
            z += vehicle.length + rng.uniform(0.8, 2.5)

    def _make_movers(self, rng: np.random.Generator) -> list[Callable[[float, float], Item]]:
        movers: list[Callable[[float, float], Item]] = []
        if rng.random() < 0.75 * self._density:
            movers.append(self._leader(rng))
        for _ in range(rng.poisson(4 * self._density)):
            movers.append(self._oncoming(rng))
        for _ in range(rng.poisson(9 * self._density)):
            movers.append(self._walker(rng))
        for _ in range(rng.poisson(2.2 * self._density)):
            movers.append(self._cyclist(rng))
        return movers

    def _leader(self, rng: np.random.Generator) -> Callable[[float, float], Item]:
        vehicle = self._vehicles[rng.integers(len(self._vehicles))]
        gap, swing, period, phase = (
            rng.uniform(9, 40),
            rng.uniform(0, 3),
            rng.uniform(6, 15),
            rng.uniform(0, 6),
        )

        def item(z: float, time_s: float) -> Item:
            there = z + gap + vehicle.length / 2 + swing * math.sin(time_s / period * 6.28 + phase)
            return _vehicle_item(vehicle, self.at(self.lane, there), self.heading(there))

        return item

    def _ahead(
        self, rng: np.random.Generator, speed_mps: float, reach: float
    ) -> Callable[[float, float], float]:
        """Return z of something with a speed of its own that comes back at the end of sight."""
        start = rng.uniform(0, reach)

        def z_at(z: float, time_s: float) -> float:
            # The camera covers the ground evenly, so this is a constant speed over the ground.
            return z + (start + speed_mps * time_s - z) % reach - 8

        return z_at

    def _oncoming(self, rng: np.random.Generator) -> Callable[[float, float], Item]:
        vehicle = self._vehicles[rng.integers(len(self._vehicles))]
        z_at = self._ahead(rng, -rng.uniform(6, 11), 230)

        def item(z: float, time_s: float) -> Item:
            there = z_at(z, time_s)
            return _vehicle_item(
                vehicle, self.at(-self.lane, there), self.heading(there) + math.pi
            )

        return item

    def _walker(self, rng: np.random.Generator) -> Callable[[float, float], Item]:
        person = self._people[rng.integers(len(self._people))]
        speed = float(rng.choice([0.0, 1.0, -1.0], p=[0.2, 0.4, 0.4])) * rng.uniform(1.0, 1.6)
        offset = rng.choice([-1.0, 1.0]) * (self.half_road + rng.uniform(0.6, self.pavement - 0.3))
        z_at, stray, phase = self._ahead(rng, speed, 70), rng.uniform(0, 6.3), rng.uniform(0, 6.3)

        def item(z: float, time_s: float) -> Item:
            there = z_at(z, time_s)
            heading = self.heading(there) + (math.pi if speed < 0 else 0.0) if speed else stray
            swing = phase + abs(speed) * time_s * 4.2
            place = self.at(offset, there)
            pose = walker(person, place, heading, swing, 0.95 if speed else 0.1)
            return _body_item(pose, place, heading, 0.35)

        return item

    def _cyclist(self, rng: np.random.Generator) -> Callable[[float, float], Item]:
        person = self._people[rng.integers(len(self._people))]
        side = float(rng.choice([-1.0, 1.0], p=[0.65, 0.35]))
        speed = -side * rng.uniform(3.5, 6.5)
        room = 2.5 if self._parked[int(side > 0)] > 0.1 else 0.8
        offset = side * (self.half_road - room)
        z_at, phase = self._ahead(rng, speed, 90), rng.uniform(0, 6.3)

        def item(z: float, time_s: float) -> Item:
            there = z_at(z, time_s)
            heading = self.heading(there) + (math.pi if speed < 0 else 0.0)
            place = self.at(offset, there)
            return _body_item(
                cyclist(person, place, heading, phase - abs(speed) * time_s), place, heading, 0.9
            )

        return item


def _panel_item(texture: Texture, top: Floats, along: Floats, down: Floats, label: int) -> Item:
    def paint(canvas: Canvas) -> None:
        canvas.panel(texture, top, along, down, label)

    return Item(float(top[2] + along[2]), paint, float(top[2]))


def _tree_item(texture: Texture, foot: Floats, height: float, shape: float) -> Item:
    trunk = np.array([[foot, foot + (0, height * 0.5, 0)]])
    wood = Capsules(
        trunk, np.array([[0.18, 0.1]]) * height / 7, np.array([[62.0, 52.0, 44.0]]), [TREE]
    )

    def paint(canvas: Canvas) -> None:
        canvas.capsules(wood)
        right = canvas.camera.rotation[0] * (1, 0, 1) * height * shape
        top = foot + (0, height, 0) - right / 2
        canvas.panel(texture, top, right, np.array([0, -height * 0.85, 0]), TREE)

    return Item(float(foot[2]), paint, float(foot[2]))


def _lamp_item(foot: Floats, reach: float, height: float, colour: Floats) -> Item:
    top, head = foot + (0, height, 0), foot + (reach, height + 0.25, 0)
    ends = np.array(
        [[foot, foot + (0, 1.2, 0)], [foot, top], [top, head], [head, head + (reach * 0.3, 0, 0)]]
    )
    radii = np.array([[0.1, 0.09], [0.075, 0.05], [0.04, 0.04], [0.1, 0.08]])
    colours = np.array([colour, colour, colour, colour * 0.5 + 80])
    post = Capsules(ends, radii, colours, [POLE] * 4)
    return Item(float(foot[2]), lambda canvas: canvas.capsules(post), float(foot[2]))


def _sign_item(rng: np.random.Generator, foot: Floats, colour: Floats, kind: str) -> Item:
    height = {'bollard': 1.0, 'lights': 2.9, 'board': 2.2}.get(kind, rng.uniform(2.1, 2.7))
    radius = 0.1 if kind == 'bollard' else 0.045
    post = Capsules(
        np.array([[foot, foot + (0, height, 0)]]),
        np.full((1, 2), radius),
        colour[None] * 1.0,
        [POLE],
    )
    face = None if kind == 'bollard' else make_lights(rng, kind)

    def paint(canvas: Canvas) -> None:
        canvas.capsules(post)
        if face is not None:
            canvas.solid(face, foot + (0, height, 0), 0.0)

    return Item(float(foot[2]), paint, float(foot[2]))


def _vehicle_item(vehicle: Vehicle, place: Floats, heading: float) -> Item:
    reach, half = vehicle.length / 2, vehicle.width / 2
    along = np.array([math.sin(heading), 0, math.cos(heading)]) * reach
    across = np.array([math.cos(heading), 0, -math.sin(heading)]) * half
    ground = place + (0, 0.01, 0)
    shadow = np.array(
        [
            ground + a * along + b * across
            for a, b in ((1.05, -1.1), (1.05, 1.1), (-1.05, 1.1), (-1.05, -1.1))
        ]
    )

    def paint(canvas: Canvas) -> None:
        canvas.shadow(shadow, 0.6)
        canvas.solid(vehicle.solid, place, heading)

    return Item(float(place[2] + reach), paint, float(place[2] - reach))


def _body_item(pose: Capsules, place: Floats, heading: float, reach: float) -> Item:
    along = np.array([math.sin(heading), 0, math.cos(heading)]) * reach
    across = np.array([math.cos(heading), 0, -math.sin(heading)]) * 0.25
    shadow = place + np.array([along, across, -along, -across])

    def paint(canvas: Canvas) -> None:
        canvas.shadow(shadow, 0.4)
        canvas.capsules(pose)

    return Item(float(place[2]), paint, float(place[2]))
