"""What Nav2's semantic_segmentation_layer makes of one cloud, in our own words.

From the facts of its source (b269885): it walks through the pixels row by row and skips those
whose point is not finite or not within its distances. The others compete for the tile that they
are in, whatever their class: the one of larger max_cost wins (or of larger confidence), an earlier
one against an equal one, and an id that is not listed has max_cost 0. Only then are winners that
are not listed ignored, and their tiles get nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2


class Tile(NamedTuple):
    """What a tile gets: the id of a class, and its confidence from 0 to 255."""

    label: int
    confidence: int


class SemanticLayer:
    """The layer with one camera that looks ahead, `height_m` above the origin of the costmap.

    Args:
        source: Parameters of an observation source, as in config/nav2_semantic_layer.yaml.
        names: Classes by id, as label_info has them.
    """

    def __init__(
        self,
        source: Mapping[str, Any],
        names: Mapping[int, str],
        *,
        resolution_m: float,
        height_m: float,
    ) -> None:
        kinds = [source[kind] for kind in source['class_types']]
        listed = {name: kind['max_cost'] for kind in kinds for name in kind['classes']}
        self.costs = {label: listed[name] for label, name in names.items() if name in listed}
        self._source = source
        self._resolution_m = resolution_m
        self._height_m = height_m

    def max_cost(self, label: int) -> int:
        return self.costs.get(label, 0)

    def compete(self, cloud: PointCloud2) -> NDArray[np.int64]:
        """The tile of every pixel that takes part, (N, 3): index of the pixel, x and y."""
        kinds = {field.name: (np.float32, field.offset) for field in cloud.fields[:3]}
        names = list(kinds)
        layout = np.dtype(
            {
                'names': names,
                'formats': [kinds[name][0] for name in names],
                'offsets': [kinds[name][1] for name in names],
                'itemsize': cloud.point_step,
            }
        )
        points = np.frombuffer(cloud.data, layout)
        right, down, ahead = (points[name].astype(np.float64) for name in names)
        place = np.stack([ahead, -right, self._height_m - down], axis=1)
        distance = np.linalg.norm(place - [0.0, 0.0, self._height_m], axis=1)
        near, far = self._source['min_obstacle_distance'], self._source['max_obstacle_distance']
        with np.errstate(invalid='ignore'):
            takes_part = np.isfinite(place[:, 2]) & (near < distance) & (distance < far)
        index = np.flatnonzero(takes_part)
        tiles = np.floor(place[index, :2] / self._resolution_m).astype(np.int64)
        return np.column_stack([index, tiles])

    def tiles(
        self, cloud: PointCloud2, mask: Image, confidence: Image
    ) -> dict[tuple[int, int], Tile]:
        """What every tile gets of one image."""
        num_pixels = mask.width * mask.height
        assert cloud.width * cloud.height == num_pixels
        assert len(mask.data) == num_pixels
        assert len(confidence.data) == num_pixels
        winners: dict[tuple[int, int], int] = {}
        for pixel, x, y in self.compete(cloud).tolist():
            holder = winners.setdefault((x, y), pixel)
            if self._source['use_cost_selection']:
                costs = [self.max_cost(mask.data[one]) for one in (pixel, holder)]
            else:
                costs = [confidence.data[one] for one in (pixel, holder)]
            if costs[0] > costs[1]:
                winners[x, y] = pixel
        return {
            tile: Tile(mask.data[pixel], confidence.data[pixel])
            for tile, pixel in winners.items()
            if mask.data[pixel] in self.costs
        }
