"""`Recording`: what is replayed, be it a bag, a video, an image folder or a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np

from dcfm_ros.files import list_files
from dcfm_ros.recordings.bag_storage import promised_counts, storage_files
from dcfm_ros.recordings.bags import BagReader
from dcfm_ros.recordings.frame import SourceError, SourceFrame
from dcfm_ros.recordings.sources import IMAGE_SUFFIXES, check_labels, open_source, source_kind
from dcfm_ros.replay.options import RecordingOptions

_DEFAULT_HZ = 15.0
_NUM_AHEAD = 10
"""Frames that the rate of a recording is read from."""


@dataclass(kw_only=True)
class Recording:
    """Frames to replay, and where they come from."""

    name: str
    """For headings and tables."""
    source: str
    """As it was named."""
    frames: Callable[[], Iterator[SourceFrame]]
    """Iterates over the frames; every call starts anew."""
    files: list[Path] = field(default_factory=list)
    """The files that hold it, in order."""
    bag: BagReader | None = None
    """Its reader, if it is a bag."""
    is_live: bool = False
    """Whether it is a camera, whose frames come once and without an end."""
    has_times: bool = True
    """Whether its stamps rise at all; known after `open`."""

    @property
    def topic(self) -> str | None:
        """Image topic of a bag; known once frames are read."""
        return self.bag.topic if self.bag else None

    @property
    def label_topic(self) -> str | None:
        """Mask topic of a bag."""
        return self.bag.label_topic if self.bag else None

    @property
    def losses(self) -> list[str]:
        """What of a bag could not be read, in words; complete after a pass over the frames."""
        return self.bag.losses.lines() if self.bag else []

    @property
    def num_frames(self) -> int | None:
        """How many frames there should be; None if unknown."""
        return promised_counts(self.bag.path).get(self.topic or '') if self.bag else None

    def numbered(self) -> Iterator[tuple[int, SourceFrame]]:
        """The frames with their places in the recording; damaged messages have one too."""
        for index, frame in enumerate(self.frames()):
            yield (self.bag.position if self.bag else index), frame

    def open(self) -> tuple[Iterator[SourceFrame], float]:
        """The frames, at least one, and how many there are per second by the stamps.

        Raises:
            FileNotFoundError: If there is no such file or folder.
            SourceError: If it cannot be read, has no image, or its image topic is not clear.
        """
        frames = self.frames()
        ahead = list(islice(frames, _NUM_AHEAD))
        if not ahead:
            reasons = f': {"; ".join(self.losses)}' if self.losses else ''
            raise SourceError(f'{self.source} has no image{reasons}')
        steps = np.diff([frame.stamp_ns for frame in ahead])
        self.has_times = bool((steps > 0).any()) or len(ahead) == 1
        usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1e9 / _DEFAULT_HZ
        return chain(ahead, frames), min(max(1e9 / usual, 1.0), 120.0)


def open_recording(source: str, options: RecordingOptions | None = None) -> Recording:
    """A recording by its name.

    Args:
        source: As in `open_source`.
        options: How it is read; None: the defaults.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it has labels of another kind than the one that `options` name.
    """
    arguments = (options or RecordingOptions()).arguments()
    frames = partial(open_source, source, **arguments)
    path, kind = Path(source), source_kind(source)
    check_labels(source, kind, label_topic=arguments['label_topic'], labels=arguments['labels'])
    name = path.resolve().name
    if kind == 'camera':
        return Recording(name=f'camera {source}', source=source, frames=frames, is_live=True)
    if kind == 'bag':
        reader = BagReader(path, topic=arguments['topic'], label_topic=arguments['label_topic'])
        files = storage_files(path)
        return Recording(name=name, source=source, frames=reader.frames, files=files, bag=reader)
    files = list_files(path, IMAGE_SUFFIXES) if kind == 'folder' else [path]
    return Recording(name=name, source=source, frames=frames, files=files)
