"""Figure 10 of the paper: frames of a clip above the masks of several networks.

Shapes: H W image, F frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Patch
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.masks.overlay import colorize
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.ablated_network import load_network, make_engine, read_network_metadata
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.evaluation.setting import PER_FRAME
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.footage.label_sets import LabelSet
from dcfm_ros.training.metrics import ConfusionMatrix
from dcfm_ros.training.plots.evaluations import short_names
from dcfm_ros.training.plots.pictures import Drawing, Row, new_figure

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Frames of a clip, and what segments them."""

    data: ClipChoice
    clip: str
    """Its name; empty: the first that is long enough."""
    start: int
    """First frame, from 0; a keyframe."""
    frames: int
    """How many."""
    interval: int
    """Keyframe interval of the DCFM, frames."""
    checkpoint: Path | None
    """Of the DCFM; None: the packaged one."""
    compare: tuple[Path, ...]
    """Checkpoints shown per frame above it."""
    device: str


@dataclass(frozen=True, eq=False)
class Strip:
    """The masks that one network gave for the frames of a clip."""

    name: str
    masks: Sequence[Image]
    """Class ids, F of (H, W)."""
    ages: Sequence[int]
    """Frames since the keyframe, 0 on it."""


def figure_10(excerpt: Excerpt | None) -> Drawing | str:
    """Frames of a clip, their labels, and the masks of the DCFM and what it is compared with."""
    if excerpt is None:
        return 'it needs --root'
    checkpoint = find_checkpoint(excerpt.checkpoint)
    clip = _find_clip(excerpt)
    shown = clip.frames[excerpt.start : excerpt.start + excerpt.frames]
    images, labels = zip(*(read_frame(frame, clip.labels) for frame in shown), strict=True)
    compared = [find_checkpoint(path) for path in excerpt.compare]
    names = short_names(compared)
    wanted = [(path, 1, f'{names[str(path)]}\nper frame') for path in compared]
    wanted.append((checkpoint, 1, 'DCFM\nper frame'))
    if excerpt.interval > 1:
        wanted.append((checkpoint, excerpt.interval, f'DCFM\nK={excerpt.interval}'))
    strips = []
    for path, interval, name in wanted:
        metadata = read_network_metadata(path)
        clip.labels.check_classes(str(path), metadata.config.num_classes)
        options = EngineOptions(device=excerpt.device, inference_height=metadata.image_height)
        if interval == 1:
            options = PER_FRAME.of_engine(options)
        schedule = ScheduleOptions(keyframe_interval=interval)
        engine = make_engine(load_network(path), options, schedule)
        results = [engine.step(image, index) for index, image in enumerate(images)]
        strips.append(Strip(name, [r.mask for r in results], [r.keyframe_age for r in results]))
    return Drawing(
        figure=_draw(images, labels, strips, clip.labels, excerpt.start),
        rows=list(strip_rows(labels, strips, clip.labels.num_classes, excerpt.start)),
    )


def _find_clip(excerpt: Excerpt) -> Clip:
    end = excerpt.start + excerpt.frames
    clips = excerpt.data.find()
    named = [clip for clip in clips if excerpt.clip in ('', clip.name)]
    if not named:
        names = [clip.name for clip in clips]
        listed = ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')
        raise ValueError(f'`clip` must be one of {listed}, got {excerpt.clip!r}')
    for clip in named:
        if len(clip.frames) >= end:
            return clip
    longest = max(len(clip.frames) for clip in named)
    raise ValueError(f'`start` + `frames` must be at most {longest} here, got {end}')


def _draw(
    images: Sequence[Image], labels: Sequence[Image | None], strips: Sequence[Strip],
    classes: LabelSet, start: int,
) -> Figure:  # fmt: skip
    """Rows: images, labels, and the masks of each strip; a column per frame."""
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
            grid[1, column].imshow(colorize(label, classes.id_palette))
    for line, strip in zip(grid[2:], strips, strict=True):
        for axes, mask, age in zip(line, strip.masks, strip.ages, strict=True):
            axes.imshow(colorize(mask, classes.palette))
            if any(strip.ages):
                axes.set_xlabel(f'keyframe + {age}' if age else 'keyframe', fontsize=8)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    for axes, name in zip(grid[:, 0], ('image', 'label', *(s.name for s in strips)), strict=True):
        axes.set_ylabel(name, fontsize=9)
    masks = [label for label in labels if label is not None]
    masks += [mask for strip in strips for mask in strip.masks]
    handles = [
        Patch(facecolor=np.array(classes.id_palette[id_]) / 255, label=classes.id_names[id_])
        for id_ in sorted({int(i) for mask in masks for i in np.unique(mask)} - {UNLABELLED})
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=min(8, len(handles)), fontsize=8,
        frameon=False,
    )  # fmt: skip
    return figure


def strip_rows(
    labels: Sequence[Image | None], strips: Sequence[Strip], num_classes: int, start: int
) -> Iterator[Row]:
    """How well each mask agrees with its label, for the CSV.

    The mIoU of a frame is over the classes that its label has; None where it has no label. Pixels
    of sets of classes are not counted.
    """
    for strip in strips:
        frames = zip(labels, strip.masks, strip.ages, strict=True)
        for index, (label, mask, age) in enumerate(frames, start):
            miou = accuracy = None
            if label is not None and (known := label < num_classes).any():
                confusion = ConfusionMatrix(num_classes)
                confusion.update(mask, label)
                miou = confusion.miou(absent='ignore')
                accuracy = float((mask == label)[known].mean())
            yield {
                'network': strip.name, 'frame': index, 'keyframe_age': age, 'miou': miou,
                'pixel_accuracy': accuracy,
            }  # fmt: skip
