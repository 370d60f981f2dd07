"""What figures are made of: the request, and the clips and checkpoints that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray

from dcfm_ros.models.checkpoint import find_checkpoint
from dcfm_ros.training.ablated_network import read_network_metadata
from dcfm_ros.training.evaluation.clip_choice import ClipChoice
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.plots.style import Row

Image = NDArray[np.uint8]

WITH, WITHOUT = 'with L_con', 'without L_con'


@dataclass(frozen=True, kw_only=True)
class FigureRequest:
    """What figures to make, and of what.

    Raises:
        ValueError: If a value is outside what its field says.
    """

    output: Path
    """Folder for figure_<name>.png and .csv."""
    figures: tuple[str, ...] = ()
    """Some of `FIGURES`; empty: all of them."""
    evaluations: tuple[Path, ...] = ()
    """JSON files of `dcfm evaluate`."""
    checkpoint: Path | None = None
    """The DCFM of figures 7, 8 and 10; None: the packaged one."""
    without_consistency: Path | None = None
    """The same trained without L_con, for figures 7 and 8."""
    compare: tuple[Path, ...] = ()
    """Checkpoints that figure 10 shows per frame above the DCFM."""
    training: Path | None = None
    """Folder of the training whose curves are drawn; None: there is none."""
    data: ClipChoice | None = None
    """The clips of figures 7, 8 and 10; None: there are none."""
    clip: str = ''
    """Clip of figures 7 and 10; empty: the first that is long enough."""
    start: int = 0
    """First frame of it, from 0; a keyframe."""
    frames: int = 6
    """Frames shown of it."""
    interval: int = 2
    """Keyframe interval of figures 7, 8 and 10, frames."""
    per_class: int = 300
    """Feature vectors per class of figure 8."""
    seed: int = 0
    """Of the draw and the t-SNE of figure 8."""
    device: str = 'auto'
    svg: bool = False
    """Write each figure as .svg too."""
    overwrite: bool = False
    """Make figures again whose .png exists."""

    def __post_init__(self) -> None:
        for name, least in (('start', 0), ('frames', 1), ('interval', 1), ('per_class', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'`{name}` must be at least {least}, got {getattr(self, name)}')


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure and its numbers, not yet written."""

    figure: Figure
    rows: Sequence[Row]
    """What the CSV says."""
    note: str = ''
    numbers: dict[str, float] = field(default_factory=dict)
    """What the figure claims, by a number."""
    few_colours: bool = False
    """Lines only: its .png can be stored in a third of the space."""


def missing_options(request: FigureRequest, *, pair: bool = False) -> str:
    """Which inputs a figure of a dataset (and of a pair of checkpoints) lacks; '' if none."""
    wanted: dict[str, object] = {'--root': request.data}
    if pair:
        wanted['--without-consistency'] = request.without_consistency
    missing = [option for option, value in wanted.items() if value is None]
    return f'it needs {" and ".join(missing)}' if missing else ''


def checkpoint_pair(request: FigureRequest) -> dict[str, Path]:
    """The networks trained without and with L_con, by name; the first must be given."""
    assert request.without_consistency is not None
    pair = {WITHOUT: request.without_consistency, WITH: request.checkpoint}
    return {name: find_checkpoint(path) for name, path in pair.items()}


def dataset_clips(request: FigureRequest) -> list[Clip]:
    """The clips of the dataset that the request names."""
    assert request.data is not None
    return request.data.find()


def clip_frames(request: FigureRequest) -> tuple[list[Image], list[Image | None], Clip]:
    """Images and labels of the frames that figures 7 and 10 show, and their clip.

    Raises:
        ValueError: If there is no such clip, or none is long enough.
    """
    end = request.start + request.frames
    clips = dataset_clips(request)
    named = [clip for clip in clips if request.clip in ('', clip.name)]
    if not named:
        names = [clip.name for clip in clips]
        listed = ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')
        raise ValueError(f'`clip` must be one of {listed}, got {request.clip!r}')
    found = [clip for clip in named if len(clip.frames) >= end]
    if not found:
        longest = max(len(clip.frames) for clip in named)
        raise ValueError(f'`start` + `frames` must be at most {longest} here, got {end}')
    frames = [read_frame(frame, found[0].labels) for frame in found[0].frames[request.start : end]]
    return [image for image, _ in frames], [label for _, label in frames], found[0]


def check_checkpoint(checkpoint: Path, clip: Clip) -> None:
    """Raise ValueError unless a checkpoint has as many classes as the labels of a clip."""
    num_classes = read_network_metadata(checkpoint).config.num_classes
    clip.labels.check_classes(str(checkpoint), num_classes)
