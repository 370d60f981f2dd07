"""What elevation_mapping_cupy makes of a cloud's channels, in our own words.

From the facts of its source (ROS 2 branch: node 24d4f93, semantic_map.py e9722d1, fusion plugins
f4ac1bd and e9722d1), with every point of a cell counted, as on flat ground:

- `class_average`: a cell gets the mean of its points' values; from the second cloud on half of it
  and half of what it had, unless that was exactly 0. Cells without a point keep what they have.
- `class_bayesian`: its kernel has a thread per point but reckons with one per point and channel,
  so it reads the first of n points only, one n-th for n channels. Layers are those sums by their
  sum over the layers, of this cloud alone: elsewhere they become 0.

With channels, points are read by ros2_numpy: x, y and z without those that are not finite, the
channels with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

Cell = tuple[int, int]
_WEIGHT = 0.5
"""`average_weight`: of what a layer had before."""


class ElevationLayers:
    """The semantic layers of a map that looks down on a camera that looks ahead.

    Args:
        channels: Names of fields.
        resolution_m: Side of a cell.
        fusion: 'class_average' or 'class_bayesian'.
    """

    def __init__(
        self, channels: Sequence[str], *, resolution_m: float, fusion: str = 'class_average'
    ) -> None:
        self._channels = list(channels)
        self._resolution_m = resolution_m
        self._fusion = fusion
        self.layers: dict[Cell, NDArray[np.float32]] = {}
        """Value of each channel by cell: (forward, left)."""

    def fuse(self, cloud: PointCloud2) -> None:
        """Take a cloud.

        Raises:
            ValueError: If it lacks a channel, or has points that are not finite.
        """
        place, values = self._read(cloud)
        if self._fusion == 'class_bayesian':
            seen = len(values) // len(self._channels)
            place, values, self.layers = place[:seen], values[:seen], {}
        cells = np.floor(place / self._resolution_m).astype(np.int64)
        found, index = np.unique(cells, axis=0, return_inverse=True)
        sums = np.zeros((len(found), values.shape[1]), np.float32)
        np.add.at(sums, index.reshape(-1), values)
        if self._fusion == 'class_bayesian':
            totals = sums.sum(1, keepdims=True)
            self.layers = self._by_cell(found, sums / np.where(totals == 0, 1, totals))
            return
        counts = np.bincount(index.reshape(-1), minlength=len(found))[:, None]
        for cell, mean in self._by_cell(found, sums / counts).items():
            old = self.layers.get(cell, np.zeros_like(mean))
            mixed = _WEIGHT * old + (1 - _WEIGHT) * mean
            self.layers[cell] = np.where(old == 0, mean, mixed).astype(np.float32)

    def _read(self, cloud: PointCloud2) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Place on the ground of each point, (N, 2), and its channels, (N, channels)."""
        fields = {field.name: field for field in cloud.fields}
        if missing := [name for name in self._channels if name not in fields]:
            raise ValueError(f'missing configured channel {missing[0]}')
        names = ['x', 'y', 'z', *self._channels]
        assert all(fields[name].datatype == PointField.FLOAT32 for name in names)
        layout = np.dtype(
            {
                'names': names,
                'formats': ['f4'] * len(names),
                'offsets': [fields[name].offset for name in names],
                'itemsize': cloud.point_step,
            }
        )
        points = np.frombuffer(cloud.data, layout)
        place = np.stack([points['z'], -points['x']], 1)
        is_finite = np.isfinite(points['x']) & np.isfinite(points['y']) & np.isfinite(place[:, 0])
        values = np.stack([points[name] for name in self._channels], 1)
        if is_finite.sum() != len(values):
            raise ValueError(f'{is_finite.sum()} places and {len(values)} values')
        return place, values

    @staticmethod
    def _by_cell(
        cells: NDArray[np.int64], values: NDArray[np.float32]
    ) -> dict[Cell, NDArray[np.float32]]:
        return {(int(x), int(y)): value for (x, y), value in zip(cells, values, strict=True)}
