"""The networks of a run, and the frames that all of them are timed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import torch

from dcfm_ros.backends.choice import Network
from dcfm_ros.engine import load_network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.masks.resize import resize_picture
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.models.checkpoint_header import find_checkpoint
from dcfm_ros.models.config import PRESETS, DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.image_networks.image_network import ImageNetwork
from dcfm_ros.recordings.sources import SourceError, SourceFrame, open_source, synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig

Model = DCFM | ImageNetwork

Progress = Callable[[Iterable[SourceFrame], str], Iterable[SourceFrame]]
"""Passes frames on and shows progress under a heading."""


def silent(frames: Iterable[SourceFrame], text: str) -> Iterable[SourceFrame]:
    """A `Progress` that shows nothing."""
    return frames


def load_model(model: str) -> Model:
    """Build or load a network, in eval mode.

    Args:
        model: A preset, with random weights (always the same), or a checkpoint as in
            `find_checkpoint`.

    Raises:
        FileNotFoundError: If it is neither.
        CheckpointError: If the file cannot be used.
    """
    if _is_preset(model):
        torch.manual_seed(0)
        return DCFM(DCFMConfig.preset(model)).eval()
    return cast('Model', load_checkpoint(find_checkpoint(model)))


def load_for_engine(model: str, options: EngineOptions) -> Network:
    """The same network in the form that an engine with these options loads.

    Raises:
        FileNotFoundError: If it is neither preset nor checkpoint; further as `load_network`.
    """
    return load_model(model) if _is_preset(model) else load_network(model, options)


def _is_preset(model: str) -> bool:
    return model in PRESETS and not Path(model).exists()


def read_frames(
    source: str | None, size: tuple[int, int], count: int, progress: Progress = silent
) -> list[SourceFrame]:
    """The first frames of an input, in order.

    Args:
        source: As in `open_source`; None: a synthetic drive.
        size: (H, W) that they are resized to.
        count: How many.
        progress: Sees every frame.

    Raises:
        SourceError: If there are fewer.
    """
    if source is None:
        drive = DriveConfig(height=size[0], width=size[1], num_frames=count, seed=1)
        return list(progress(synthetic_frames(drive), 'rendering'))
    frames = [
        replace(frame, image=resize_picture(frame.image, size), label=None)
        for frame in progress(islice(open_source(source), count), 'reading')
    ]
    if len(frames) < count:
        raise SourceError(f'{source} has {len(frames)} frames, {count} are needed')
    return frames
