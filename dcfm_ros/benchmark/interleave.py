"""Times several rivals on the same frames, in turn: what slows the machine slows all of them.

Their order changes from frame to frame, so that none always follows the same one and finds its
caches; each still sees every frame once and in order, as a stream does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from dcfm_ros.benchmark.inputs import Progress, silent
from dcfm_ros.engine_options import EXECUTIONS
from dcfm_ros.percentiles import spread
from dcfm_ros.recordings.sources import SourceFrame

LIBRARY = 'library'
"""Row of a network of another library as that library runs it, in eager PyTorch."""


class Answer(NamedTuple):
    """What a rival made of a frame."""

    mask: NDArray[np.uint8]
    """Class of every pixel, (H, W), on the host."""
    stage_ms: Mapping[str, float]
    """Duration of its stages, ms."""
    feature_age: int = 0
    """Frames since the keyframe whose common feature was used."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A way from a camera image to a class mask."""

    what: str
    """Name of its row."""
    run: Callable[[SourceFrame], Answer]
    """Takes the next frame of its stream."""
    backend: str = 'torch'
    failure: Callable[[], str] = lambda: ''
    """Why `backend` no longer runs it; '' if it does."""
    precision: str = 'fp32'
    same_as: str = ''
    """The rival in the plain order that must give the same masks; '': none."""

    @property
    def is_plain(self) -> bool:
        """Whether it is the plain order of what a network does, which no backend runs."""
        return self.what.startswith('paper_') or self.what == LIBRARY

    @property
    def is_stream(self) -> bool:
        """Whether it gets keyframes and others in turn, as from a camera."""
        return self.what.partition('_')[0] in EXECUTIONS


@dataclass(frozen=True)
class Record:
    """What was measured for a rival, frame by frame."""

    rival: Rival
    ms: list[float] = field(default_factory=list)
    stage_ms: list[Mapping[str, float]] = field(default_factory=list)
    feature_age: list[int] = field(default_factory=list)
    equal_pixels: list[float] = field(default_factory=list)
    """Share of the pixels that have the class of `same_as`, in [0, 1]."""

    def row(self) -> dict[str, object]:
        """Statistics, times in ms."""
        names = dict.fromkeys(name for stages in self.stage_ms for name in stages)
        row: dict[str, object] = {
            'what': self.rival.what,
            'backend': self.rival.backend,
            'precision': self.rival.precision,
            'frames': len(self.ms),
            **{f'ms_{name}': value for name, value in spread(self.ms).items()},
            'stage_ms': {
                name: float(np.median([s[name] for s in self.stage_ms if name in s]))
                for name in names
            },
        }
        if self.rival.is_stream:
            row['feature_age_mean'] = float(np.mean(self.feature_age))
            row['feature_age_max'] = max(self.feature_age)
        if self.equal_pixels:
            row['equal_pixels'] = float(np.mean(self.equal_pixels))
        return row


def measure(
    rivals: Sequence[Rival],
    frames: Sequence[SourceFrame],
    warm_up: int,
    progress: Progress = silent,
    text: str = 'measuring',
) -> list[Record]:
    """Give every frame to every rival, one after the other.

    Args:
        rivals: Each has finished a frame when it returns its mask.
        frames: In order.
        warm_up: Frames at the start that are not recorded.
        progress: Sees every frame.
        text: Heading of the progress.

    Returns:
        A record for each rival, in the same order.
    """
    records = [Record(rival) for rival in rivals]
    orders = np.random.default_rng(0)
    for index, frame in enumerate(progress(frames, text)):
        answers: dict[int, Answer] = {}
        elapsed: dict[int, float] = {}
        for number in orders.permutation(len(rivals)).tolist():
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            start = time.perf_counter()
            answers[number] = rivals[number].run(frame)
            elapsed[number] = (time.perf_counter() - start) * 1e3
        if index < warm_up:
            continue
        masks = {rival.what: answers[n].mask for n, rival in enumerate(rivals)}
        for number, record in enumerate(records):
            answer = answers[number]
            record.ms.append(elapsed[number])
            record.stage_ms.append(answer.stage_ms)
            record.feature_age.append(answer.feature_age)
            if record.rival.same_as in masks:
                equal = answer.mask == masks[record.rival.same_as]
                record.equal_pixels.append(float(equal.mean()))
    return records
