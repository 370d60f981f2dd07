"""The frames that everything is timed on: a drive or a recording, in order, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np

from dcfm_ros.recordings.sources import SourceError, SourceFrame, open_source, synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig

Progress = Callable[[Iterable[SourceFrame], str], Iterable[SourceFrame]]
"""Passes frames on and shows progress under a heading."""


def silent(frames: Iterable[SourceFrame], text: str) -> Iterable[SourceFrame]:
    """A `Progress` that shows nothing."""
    return frames


def read_frames(
    source: str | None, size: tuple[int, int], count: int, progress: Progress = silent
) -> list[SourceFrame]:
    """The first frames of an input.

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
    frames = [_resized(f, size) for f in progress(islice(open_source(source), count), 'reading')]
    if len(frames) < count:
        raise SourceError(f'{source} has {len(frames)} frames, {count} are needed')
    return frames


def _resized(frame: SourceFrame, size: tuple[int, int]) -> SourceFrame:
    if frame.image.shape[:2] == size:
        return frame
    image = cv2.resize(frame.image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return replace(frame, image=np.asarray(image, np.uint8), label=None)
