"""The synthetic street: an endless row of blocks with houses, trees, furniture and parked cars."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.synthetic.camera import Floats
from dcfm_ros.synthetic.items import (
    Item,
    make_fence_item,
    make_house,
    make_lamp,
    make_sign_item,
    make_tree_item,
    make_vehicle_item,
)
from dcfm_ros.synthetic.looks import Looks
from dcfm_ros.synthetic.solids import FENCE, TREE
from dcfm_ros.synthetic.textures import FENCE_KINDS

BLOCK_M = 48
SIGHT_M = 180.0
"""How far houses and trees are painted; what is on the road and the pavement, `NEAR_SIGHT_M`."""
NEAR_SIGHT_M = 90.0
_KEPT_BLOCKS = 24
_THEMES = ('terrace', 'gardens', 'park')
_SIGNS = {'disc': 0.3, 'triangle': 0.15, 'board': 0.2, 'plate': 0.25, 'bollard': 0.1}


class Block(NamedTuple):
    """A stretch of `BLOCK_M` metres of the street."""

    items: list[Item]
    green: tuple[bool, bool]
    """Whether grass, not paving, lies beyond the pavement, left and right."""
    gaps: tuple[float, float]
    """Width of the side road at the start of the block, left and right, metres; 0 is none."""
    shades: Floats
    """Height of what throws shadows from the left and the right, per metre, (2, BLOCK_M)."""


class Street:
    """An endless street that follows from a seed; its centre line bends gently around z.

    Keeps the looks of its things and the blocks that were asked for last.
    """

    def __init__(self, seed: int, density: float) -> None:
        self._seed = seed
        self.looks = Looks(seed)
        rng = np.random.default_rng([seed, 1])
        self.half_road = rng.uniform(3.3, 5.2)
        self.pavement = rng.uniform(2.2, 4.8)
        self._bends = [(rng.uniform(1, 8), rng.uniform(40, 75), rng.uniform(0, 6.3))]
        self._bends.append((rng.uniform(0, 1.2), rng.uniform(18, 30), rng.uniform(0, 6.3)))
        self._odds = rng.dirichlet((1.8, 1.0, 0.8))
        room = density if self.half_road > 4.5 else 0.0
        self.parked = tuple((rng.uniform(-0.3, 0.9, 2) * room).clip(0, 1).tolist())
        """Share of the kerb with parked cars, left and right."""
        kept_free = 3.4 if self.parked[0] else 2.0
        self.lane = -min(0.38 * self.half_road, 1.7, self.half_road - kept_free)
        """Where the camera drives, metres from the centre line."""
        self._blocks: dict[int, Block] = {}

    @property
    def edge(self) -> float:
        """Distance from the centre line to the outer edge of the pavement, metres."""
        return self.half_road + self.pavement

    def centre(self, z: Any) -> Any:
        """Return x of the centre line at z, metres."""
        return sum(size * np.sin(z / length + phase) for size, length, phase in self._bends)

    def heading(self, z: float) -> float:
        """Return the direction of the road at z, radians from z to x."""
        return math.atan(
            sum(a / length * math.cos(z / length + b) for a, length, b in self._bends)
        )

    def at(self, offset: float, z: float) -> Floats:
        """Return the ground point `offset` metres to the right of the centre line."""
        return np.array([float(self.centre(z)) + offset, 0.0, z])

    def block(self, index: int) -> Block:
        """Return a block; it is built, always the same, when it is asked for."""
        if index not in self._blocks:
            if len(self._blocks) >= _KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[index] = self._build(index)
        return self._blocks[index]

    def items(self, z: float) -> list[Item]:
        """Return all that stands between z and the end of sight."""
        first, last = math.floor(z / BLOCK_M), math.floor((z + SIGHT_M) / BLOCK_M)
        return [item for index in range(first, last + 1) for item in self.block(index).items]

    def _build(self, index: int) -> Block:
        # Blocks behind the start have negative numbers, seeds must not.
        rng = np.random.default_rng([self._seed, 2, index + 100_000])
        items: list[Item] = []
        green, gaps, shades = [], [], np.zeros((2, BLOCK_M), np.float32)
        for side in (-1.0, 1.0):
            theme = str(rng.choice(_THEMES, p=self._odds))
            gap = rng.uniform(6, 9) if rng.random() < 0.25 else 0.0
            green.append(theme != 'terrace')
            gaps.append(gap)
            start = index * BLOCK_M
            row = _Row(self, rng, items, side, start + (gap + 2 if gap else 0), start + BLOCK_M)
            getattr(row, theme)(shades[int(side > 0)])
            row.furniture(gap > 0)
            row.parked_cars(self.parked[int(side > 0)])
        return Block(items, (green[0], green[1]), (gaps[0], gaps[1]), shades)


class _Row:
    """Fills one side of a block, from `start` to `stop` metres along the road."""

    def __init__(
        self,
        street: Street,
        rng: np.random.Generator,
        items: list[Item],
        side: float,
        start: float,
        stop: float,
    ) -> None:
        self._street = street
        self._looks = street.looks
        self._rng = rng
        self._items = items
        self._side = side
        self._start = start
        self._stop = stop

    def terrace(self, shades: NDArray[np.float32]) -> None:
        """Put houses side by side at the pavement, sometimes with street trees."""
        self._houses(0.05, 0.0, shades)
        if self._street.pavement > 2.8 and self._rng.random() < 0.4:
            self._trees(0.9 - self._street.pavement, 14.0)

    def gardens(self, shades: NDArray[np.float32]) -> None:
        """Put houses behind front gardens with a fence and trees."""
        setback = self._rng.uniform(3, 7)
        self._houses(setback, 3.0, shades)
        self._trees(setback + 12, 12.0)
        self._trees(1.6, 15.0)
        self._fence(str(self._rng.choice(FENCE_KINDS)), self._rng.uniform(0.8, 1.6))

    def park(self, shades: NDArray[np.float32]) -> None:
        """Put rows of trees behind a railing."""
        self._trees(11.0, 6.0)
        self._trees(3.0, 7.0)
        if self._rng.random() < 0.7:
            self._fence('railing', self._rng.uniform(0.9, 1.4))
        shades[:] = self._rng.uniform(0, 5, shades.shape)

    def furniture(self, crossing: bool) -> None:
        """Put lamp posts, signs and, at a crossing, traffic lights along the kerb."""
        street, rng, side = self._street, self._rng, self._side
        kerb = side * (street.half_road + 0.45)
        for z in np.arange(self._start + rng.uniform(2, 24), self._stop, 30.0):
            foot = street.at(kerb, float(z))
            self._items.append(
                make_lamp(foot, -side * 1.6, rng.uniform(6, 8.5), self._looks.post_colour)
            )
        if crossing and rng.random() < 0.8:
            self._sign('lights', kerb, self._start + 0.5)
        for kind in rng.choice(list(_SIGNS), rng.poisson(2.4), p=list(_SIGNS.values())):
            place = kerb + side * rng.uniform(0, 0.5)
            self._sign(str(kind), place, rng.uniform(self._start, self._stop))

    def parked_cars(self, share: float) -> None:
        """Fill `share` of the kerb with parked cars."""
        street, rng, side = self._street, self._rng, self._side
        z = self._start + rng.uniform(0, 5)
        while z < self._stop - 3:
            vehicle = self._looks.vehicles[rng.integers(len(self._looks.vehicles))]
            if rng.random() < share and vehicle.length < 6:
                middle = z + vehicle.length / 2
                turned = math.pi if side > 0 or rng.random() < 0.2 else 0.0
                place = street.at(side * (street.half_road - vehicle.width / 2 - 0.2), middle)
                self._items.append(
                    make_vehicle_item(vehicle, place, street.heading(middle) + turned)
                )
            z += vehicle.length + rng.uniform(0.8, 2.5)

    def _sign(self, kind: str, offset: float, z: float) -> None:
        signs = self._looks.signs.get(kind)
        sign = None if signs is None else signs[self._rng.integers(len(signs))]
        height = 1.0 if sign is None else 2.9 if kind == 'lights' else self._rng.uniform(2.1, 2.7)
        foot, colour = self._street.at(offset, z), self._looks.post_colour
        self._items.append(make_sign_item(sign, foot, height, colour))

    def _at(self, layer: float, z: float) -> Floats:
        return self._street.at(self._side * (self._street.edge + layer), z)

    def _houses(self, layer: float, spacing: float, shades: NDArray[np.float32]) -> None:
        rng, z, last_height = self._rng, self._start, 0.0
        block_start = self._stop - BLOCK_M
        while self._stop - z > 4:
            house = self._looks.facade(int(rng.integers(9)))
            end = min(z + house.width, self._stop)
            exposed = spacing > 0 or house.height + house.rise > last_height
            near, far = self._at(layer, z), self._at(layer, end)
            self._items.append(
                make_house(rng, house, near, far, layer, side=self._side, exposed=exposed)
            )
            shades[int(z - block_start) : int(end - block_start)] = max(house.height - layer, 0)
            last_height = house.height
            z = end + spacing * rng.uniform(0.3, 1.6)

    def _fence(self, kind: str, height: float) -> None:
        texture, label = self._looks.fences[kind], TREE if kind == 'hedge' else FENCE
        z = self._start
        while z < self._stop - 1:
            end = min(z + 12, self._stop)
            near, far = self._at(0.05, z), self._at(0.05, end)
            self._items.append(make_fence_item(texture, near, far, height, label, 0.05))
            z = end

    def _trees(self, layer: float, spacing: float) -> None:
        rng, z = self._rng, self._start + self._rng.uniform(0, spacing)
        while z < self._stop:
            foot = self._at(layer + rng.uniform(0, 1.0), z)
            texture = self._looks.trees[rng.integers(len(self._looks.trees))]
            height, shape = rng.uniform(4.5, 9), rng.uniform(0.75, 1.1)
            heading = self._street.heading(z)
            self._items.append(
                make_tree_item(texture, foot, height, shape, heading, max(layer, 0.0))
            )
            z += spacing * rng.uniform(0.7, 1.5)
