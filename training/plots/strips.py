"""Figure 10 of the paper: frames of a clip above the masks of several networks.

Shapes: H W image, F frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.keyframes.options import EngineOptions, ScheduleOptions
from dcfm_ros.masks.overlay import colorize
from dcfm_ros.models.checkpoint import find_checkpoint
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.ablated_network import load_network, make_engine, read_network_metadata
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.metrics import ConfusionMatrix
from dcfm_ros.training.plots.request import (
    Drawing,
    FigureRequest,
    check_checkpoint,
    clip_frames,
    missing_options,
)
from dcfm_ros.training.plots.rows import EvaluatedRow, short_names
from dcfm_ros.training.plots.style import Row, new_figure

Image = NDArray[np.uint8]


def figure_10(request: FigureRequest, rows: Sequence[EvaluatedRow]) -> Drawing | str:
    """Frames of a clip, their labels, and the masks of the DCFM and what it is compared with."""
    if missing := missing_options(request):
        return missing
    checkpoint = find_checkpoint(request.checkpoint)
    images, labels, clip = clip_frames(request)
    compared = [find_checkpoint(path) for path in request.compare]
    names = short_names(compared)
    wanted = [(path, 1, f'{names[str(path)]}\nper frame') for path in compared]
    wanted.append((checkpoint, 1, 'DCFM\nper frame'))
    if request.interval > 1:
        wanted.append((checkpoint, request.interval, f'DCFM\nK={request.interval}'))
    strips = []
    for path, interval, name in wanted:
        check_checkpoint(path, clip)
        strips.append(segment_strip(path, images, interval, name, request.device))
    return Drawing(
        figure=draw_figure_10(images, labels, strips, clip.labels, request.start),
        rows=figure_10_rows(labels, strips, clip.labels.num_classes, request.start),
    )


@dataclass(frozen=True, eq=False)
class Strip:
    """The masks that one network gave for the frames of a clip."""

    name: str
    masks: Sequence[Image]
    """Class ids, F of (H, W)."""
    ages: Sequence[int]
    """Frames since the keyframe, 0 on it."""


def segment_strip(
    checkpoint: Path, images: Sequence[Image], interval: int, name: str, device: str = 'auto'
) -> Strip:
    """Segment the frames as the robot would; the first is a keyframe.

    Args:
        checkpoint: A .safetensors file.
        images: RGB, F of (H, W, 3).
        interval: Keyframe interval in frames; 1 makes every frame a keyframe.
        name: For the row of the figure.
        device: As in `SegmentationEngine`.
    """
    height = read_network_metadata(checkpoint).image_height
    options = EngineOptions(device=device, inference_height=height)
    schedule = ScheduleOptions(keyframe_interval=interval)
    engine = make_engine(load_network(checkpoint), options, schedule)
    results = [engine.step(image, index) for index, image in enumerate(images)]
    return Strip(name, [r.mask for r in results], [r.keyframe_age for r in results])


def draw_figure_10(
    images: Sequence[Image],
    labels: Sequence[Image | None],
    strips: Sequence[Strip],
    classes: LabelSet,
    start: int = 0,
) -> Figure:
    """Rows: images, hand-made labels, and the masks of each strip; a column per frame.

    Args:
        images: RGB, F of (H, W, 3).
        labels: Class ids, F of (H, W); None where a frame has no label.
        strips: Masks of the same frames.
        classes: Names and colours of the class ids.
        start: Number of the first frame.
    """
    height, width = images[0].shape[:2]
    num_rows = 2 + len(strips)
    cell = 2.3
    figure = new_figure(cell * len(images) + 0.6, cell * height / width * num_rows + 0.8)
    grid = figure.subplots(num_rows, len(images), squeeze=False)
    for column, (image, label) in enumerate(zip(images, labels, strict=True)):
        grid[0, column].imshow(image)
        grid[0, column].set_title(f'frame {start + column}', fontsize=9)
        if label is None:
            middle = {'ha': 'center', 'va': 'center', 'transform': grid[1, column].transAxes}
            grid[1, column].text(0.5, 0.5, 'not labelled', fontsize=9, **middle)
        else:
            grid[1, column].imshow(colorize(label, classes.palette))
    for line, strip in zip(grid[2:], strips, strict=True):
        for axes, mask, age in zip(line, strip.masks, strip.ages, strict=True):
            axes.imshow(colorize(mask, classes.palette))
            if any(strip.ages):
                axes.set_xlabel(f'keyframe + {age}' if age else 'keyframe', fontsize=8)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    names = ('image', 'label', *(strip.name for strip in strips))
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.set_ylabel(name, fontsize=9)
    masks = [label for label in labels if label is not None]
    masks += [mask for strip in strips for mask in strip.masks]
    handles = [
        Patch(
            facecolor=np.array(classes.palette[class_id]) / 255,
            label=classes.class_names[class_id],
        )
        for class_id in sorted({int(i) for mask in masks for i in np.unique(mask)})
        if class_id != UNLABELLED
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=min(8, len(handles)), fontsize=8,
        frameon=False,
    )  # fmt: skip
    return figure


def figure_10_rows(
    labels: Sequence[Image | None], strips: Sequence[Strip], num_classes: int, start: int = 0
) -> list[Row]:
    """What the CSV of figure 10 says: how well each mask agrees with its label.

    The mIoU of a frame is over the classes that its label has; None where it has no label.
    """
    rows: list[Row] = []
    for strip in strips:
        for index, (label, mask) in enumerate(zip(labels, strip.masks, strict=True)):
            rows.append(
                {
                    'network': strip.name,
                    'frame': start + index,
                    'keyframe_age': strip.ages[index],
                    **_agreement(mask, label, num_classes),
                }
            )
    return rows


def _agreement(mask: Image, label: Image | None, num_classes: int) -> Mapping[str, float | None]:
    if label is None or (label == UNLABELLED).all():
        return {'miou': None, 'pixel_accuracy': None}
    confusion = ConfusionMatrix(num_classes)
    confusion.update(mask, label)
    accuracy = float((mask == label)[label != UNLABELLED].mean())
    return {'miou': confusion.miou(absent='ignore'), 'pixel_accuracy': accuracy}
