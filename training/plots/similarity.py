"""Figure 7 of the paper: how alike neighbouring pixels are in the fused feature.

Shapes: C feature channels, h w feature grid, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.training.plots.features import FeatureExtractor
from dcfm_ros.training.plots.request import (
    Drawing,
    FigureRequest,
    checkpoint_pair,
    clip_frames,
    missing_options,
)
from dcfm_ros.training.plots.rows import EvaluatedRow
from dcfm_ros.training.plots.style import Row, new_figure

Image = NDArray[np.uint8]
Map = NDArray[np.float64]

_NEIGHBOURS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))


def figure_7(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing | str:
    """Similarity maps of two networks beside the images; the frames as on the robot."""
    if missing := missing_options(request, pair=True):
        return missing
    images, _, _ = clip_frames(request)
    keyframes = [index - index % request.interval for index in range(len(images))]
    maps = {}
    for name, checkpoint in checkpoint_pair(request).items():
        extractor = FeatureExtractor(checkpoint, request.device)
        maps[name] = [
            neighbour_similarity(extractor.fused(image, None if key == index else images[key]))
            for index, (image, key) in enumerate(zip(images, keyframes, strict=True))
        ]
    names = []
    for index, key in enumerate(keyframes):
        role = f'keyframe + {index - key}' if index > key else 'keyframe'
        names.append(f'frame {request.start + index}, {role}')
    numbers = {f'similarity {n}': float(np.mean([m.mean() for m in maps[n]])) for n in maps}
    figure = draw_figure_7(images, maps, names)
    return Drawing(figure=figure, rows=figure_7_rows(maps, names), numbers=numbers)


def neighbour_similarity(feature: NDArray[np.float32]) -> Map:
    """Cosine similarity of each pixel with its 8 neighbours, mean over those that there are.

    Args:
        feature: (C, h, w), at least two pixels.

    Returns:
        (h, w), in [-1, 1].
    """
    exact = feature.astype(np.float64)
    exact /= np.maximum(np.linalg.norm(exact, axis=0), 1e-12)
    height, width = exact.shape[1:]
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for dy, dx in _NEIGHBOURS:
        here = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
        there = slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx))
        product = np.einsum('chw,chw->hw', exact[(..., *here)], exact[(..., *there)])
        total[here] += product
        count[here] += 1
    return np.asarray(total / count, np.float64)


def draw_figure_7(
    images: Sequence[Image], maps: Mapping[str, Sequence[Map]], names: Sequence[str]
) -> Figure:
    """Images of a clip above their similarity maps, one row per network, one colour bar.

    Args:
        images: RGB, (H, W, 3).
        maps: {name of the network: a map (h, w) per image}.
        names: Of the frames, written above them.
    """
    height, width = images[0].shape[:2]
    num_rows = 1 + len(maps)
    cell = 2.6
    figure = new_figure(cell * len(images) + 1.2, cell * height / width * num_rows + 0.6)
    grid = figure.subplots(num_rows, len(images), squeeze=False)
    values = np.concatenate([each.ravel() for found in maps.values() for each in found])
    # The few pixels below lie on borders of objects in either network and would eat the scale.
    low = float(np.percentile(values, 2))
    for axes, image, name in zip(grid[0], images, names, strict=True):
        axes.imshow(image)
        axes.set_title(name, fontsize=9)
    shown: Any = None
    for line, found in zip(grid[1:], maps.values(), strict=True):
        for axes, each in zip(line, found, strict=True):
            shown = axes.imshow(
                each, cmap='viridis', vmin=low, vmax=1.0, extent=(0, width, height, 0)
            )
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[:, 0], ('image', *maps), strict=True):
        axes.set_ylabel(name, fontsize=9)
    figure.colorbar(
        shown, ax=grid[1:], label='cosine similarity with the 8 neighbours', extend='min', pad=0.01
    )
    return figure


def figure_7_rows(maps: Mapping[str, Sequence[Map]], names: Sequence[str]) -> list[Row]:
    """What the CSV of figure 7 says: mean and lowest tenth of each map."""
    return [
        {
            'network': network,
            'frame': name,
            'mean_similarity': float(each.mean()),
            'p10_similarity': float(np.percentile(each, 10)),
        }
        for network, found in maps.items()
        for name, each in zip(names, found, strict=True)
    ]
