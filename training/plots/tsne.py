"""Figure 8 of the paper: t-SNE of fused feature vectors, and the number behind its claim.

Shapes: C feature channels, N vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from dcfm_ros.training.plots.features import FeatureExtractor, Sample, sample_vectors
from dcfm_ros.training.plots.request import (
    Drawing,
    FigureRequest,
    check_checkpoint,
    checkpoint_pair,
    dataset_clips,
    missing_options,
)
from dcfm_ros.training.plots.rows import EvaluatedRow
from dcfm_ros.training.plots.style import MARKERS, Row, new_figure

PERPLEXITY = 30.0


def figure_8(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing | str:
    """The t-SNE of vectors of two networks, and how compact and separate their classes are."""
    if missing := missing_options(request, pair=True):
        return missing
    clips = dataset_clips(request)
    samples, places, numbers = {}, {}, {}
    for name, checkpoint in checkpoint_pair(request).items():
        check_checkpoint(checkpoint, clips[0])
        samples[name] = sample_vectors(
            FeatureExtractor(checkpoint, request.device),
            clips,
            per_class=request.per_class,
            interval=request.interval,
            seed=request.seed,
        )
        measured = dispersion(samples[name])
        for key in ('within', 'between', 'ratio'):
            numbers[f'{key} {name}'] = getattr(measured, key)
        places[name] = embed(samples[name], request.seed)
    labels = clips[0].labels
    return Drawing(
        figure=draw_figure_8(samples, places, labels.class_names, labels.palette),
        rows=figure_8_rows(samples, places, labels.class_names),
        numbers=numbers,
    )


@dataclass(frozen=True)
class Dispersion:
    """How compact and how far apart the classes of a sample are; distances are Euclidean."""

    within: float
    """Mean distance of a vector to the centre of its class, mean over classes."""
    between: float
    """Mean distance between the centres of two classes."""

    @property
    def ratio(self) -> float:
        """Within by between: less is better, and no scale of the feature changes it."""
        return self.within / self.between


def dispersion(sample: Sample) -> Dispersion:
    """Measure a sample in the feature space itself, not in its t-SNE.

    Raises:
        ValueError: If the sample has fewer than two classes.
    """
    ids = np.unique(sample.classes)
    if len(ids) < 2:
        raise ValueError(f'`sample` must have at least two classes, got {len(ids)}')
    vectors = sample.vectors.astype(np.float64)
    centres = np.stack([vectors[sample.classes == class_id].mean(0) for class_id in ids])
    within = [
        np.linalg.norm(vectors[sample.classes == class_id] - centre, axis=1).mean()
        for class_id, centre in zip(ids, centres, strict=True)
    ]
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    return Dispersion(
        float(np.mean(within)), float(distances[np.triu_indices(len(ids), 1)].mean())
    )


def embed(sample: Sample, seed: int = 0) -> NDArray[np.float32]:
    """The t-SNE of a sample, (N, 2); the same on every call (some 20 s for 3000 vectors).

    Raises:
        ValueError: If there are fewer than 10 vectors.
    """
    count = len(sample.vectors)
    if count < 10:
        raise ValueError(f'`sample` must hold at least 10 vectors, got {count}')
    tsne = TSNE(perplexity=min(PERPLEXITY, (count - 1) / 3), init='pca', random_state=seed)
    return np.asarray(tsne.fit_transform(sample.vectors), np.float32)


def draw_figure_8(
    samples: Mapping[str, Sample],
    places: Mapping[str, NDArray[np.float32]],
    class_names: Sequence[str],
    palette: Sequence[tuple[int, int, int]],
) -> Figure:
    """The t-SNE of each network side by side, in the colours of the classes.

    Args:
        samples: {name of the network: its sample}.
        places: {name of the network: the embedding of that sample, (N, 2)}.
        class_names: One per class id.
        palette: RGB colour per class id.
    """
    figure = new_figure(5.2 * len(samples), 5.6)
    grid = figure.subplots(1, len(samples), squeeze=False)[0]
    seen = sorted({int(i) for sample in samples.values() for i in np.unique(sample.classes)})
    for axes, (name, sample) in zip(grid, samples.items(), strict=True):
        measured = dispersion(sample)
        for class_id in seen:
            chosen = places[name][sample.classes == class_id]
            colour = np.array(palette[class_id]) / 255
            axes.scatter(
                *chosen.T, s=9, color=colour, linewidths=0, label=class_names[class_id],
                marker=MARKERS[class_id % len(MARKERS)],
            )  # fmt: skip
        axes.set(xticks=[], yticks=[])
        axes.set_title(
            f'{name}\nwithin class {measured.within:.3f}, between classes {measured.between:.3f},'
            f' ratio {measured.ratio:.3f}',
            fontsize=9.5,
        )
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc='outside lower center', ncols=min(7, len(seen)), markerscale=2.5,
        fontsize=8, frameon=False,
    )  # fmt: skip
    return figure


def figure_8_rows(
    samples: Mapping[str, Sample],
    places: Mapping[str, NDArray[np.float32]],
    class_names: Sequence[str],
) -> list[Row]:
    """What the CSV of figure 8 says: every point that is drawn.

    `distance_to_centre` is that to the centre of its class in the feature space.
    """
    rows: list[Row] = []
    for name, sample in samples.items():
        for class_id in np.unique(sample.classes).tolist():
            chosen = sample.classes == class_id
            vectors = sample.vectors[chosen].astype(np.float64)
            distances = np.linalg.norm(vectors - vectors.mean(0), axis=1)
            for (x, y), distance in zip(places[name][chosen], distances, strict=True):
                row = {'network': name, 'class': class_names[class_id], 'x': float(x)}
                rows.append({**row, 'y': float(y), 'distance_to_centre': float(distance)})
    return rows
