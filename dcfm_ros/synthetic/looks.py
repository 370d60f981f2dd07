"""How the things of one synthetic street look: textures, vehicles, signs, paint and paving."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dcfm_ros.synthetic.facades import Facade, make_facade
from dcfm_ros.synthetic.solids import (
    PAVEMENT,
    ROAD,
    SIGN_KINDS,
    TREE,
    VEHICLE_KINDS,
    make_sign,
    make_vehicle,
)
from dcfm_ros.synthetic.textures import FENCE_KINDS, make_fence, make_tree, spectral_noise

_POSTS = np.array([(70, 74, 76), (40, 44, 44), (120, 124, 122), (36, 60, 50)], float)


class Markings(NamedTuple):
    """Painted lines of the road."""

    dash_m: float
    """Length of the dashes in the middle, of every 6 m; 6 is an unbroken line."""
    edge: float
    """Strength of the line along the kerb, in [0, 1]."""
    double: bool
    """Two yellow lines along the kerb instead of a white one."""


class Looks:
    """The stock of looks from which a street is built; houses are painted when first needed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = np.random.default_rng([seed, 6])
        self.noise = spectral_noise(rng, 256, 1.0)
        dash_m, edge = float(rng.choice([2.0, 3.5, 6.0])), float(rng.choice([0.0, 1.0]))
        self.markings = Markings(dash_m, edge, bool(rng.random() < 0.35))
        grey = rng.uniform(70, 118)
        self.ground = np.zeros((11, 3), np.float32)
        """RGB of the ground of each class."""
        self.ground[ROAD] = grey + rng.uniform(-4, 4, 3)
        self.ground[PAVEMENT] = grey * rng.uniform(0.85, 1.3) + rng.uniform(-6, 6, 3)
        self.ground[TREE] = np.array([84, 98, 48]) * rng.uniform(0.8, 1.2)
        bare = bool(rng.random() < 0.5)
        self.trees = [make_tree(rng, self.noise, bare) for _ in range(4)]
        self.fences = {kind: make_fence(rng, self.noise, kind) for kind in FENCE_KINDS}
        kinds = rng.choice(VEHICLE_KINDS, 11, p=[0.38, 0.24, 0.2, 0.13, 0.05])
        self.vehicles = [make_vehicle(rng, str(kind)) for kind in kinds]
        self.signs = {kind: [make_sign(rng, kind) for _ in range(3)] for kind in SIGN_KINDS}
        self.post_colour = _POSTS[rng.integers(len(_POSTS))]
        self._facades: dict[int, Facade] = {}

    def facade(self, index: int) -> Facade:
        """Return a kind of house."""
        if index not in self._facades:
            rng = np.random.default_rng([self._seed, 3, index])
            self._facades[index] = make_facade(rng, self.noise)
        return self._facades[index]
