"""Streaming accuracy: a label is met by the mask that a live camera's user would see by then.

One worker segments the newest frame that has come; frames that come while it is busy replace each
other and are dropped (Li et al., "Towards Streaming Perception", ECCV 2020). The engine sees only
what is segmented, so a keyframe interval counts those frames, as on the robot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import FrameResult
from dcfm_ros.models.labels import UNLABELLED
from dcfm_ros.training.evaluation.averaged_views import Engine
from dcfm_ros.training.evaluation.frame_times import total_ms
from dcfm_ros.training.evaluation.scores import miou
from dcfm_ros.training.footage.clips import Clip
from dcfm_ros.training.footage.decoding import read_frame
from dcfm_ros.training.metrics import ConfusionMatrix

Mask = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Publication:
    """A mask that came out."""

    frame: int
    """What it was made of."""
    mask: Mask
    published_ns: int


class StreamScores:
    """Counts of live runs over clips."""

    def __init__(self, num_classes: int) -> None:
        self._confusion = ConfusionMatrix(num_classes)
        self._frames: Counter[str] = Counter()  # 'processed' and 'dropped'
        self._ages_ns: list[int] = []

    def add_label(self, label: Mask, shown: Mask | None, age_ns: int = 0) -> None:
        """Count a label (H, W) and the mask shown when its frame came, with the mask's age.

        Without one, or with one of a size that the camera had before, every pixel is missed.
        """
        if shown is not None:
            self._ages_ns.append(age_ns)
        if shown is None or shown.shape != label.shape:
            shown = np.full(label.shape, UNLABELLED, np.uint8)
        self._confusion.update(shown, label)

    def add_clip(self, num_processed: int, num_dropped: int) -> None:
        """Count the frames of a clip."""
        self._frames.update(processed=num_processed, dropped=num_dropped)

    def merge(self, other: StreamScores) -> None:
        """Put the clips of another one behind those of this one."""
        self._confusion.merge(other._confusion)
        self._frames.update(other._frames)
        self._ages_ns += other._ages_ns

    def values(self) -> dict[str, float | int | None]:
        """Figures of a row; the age is the mean over labels with a mask, in ms."""
        ages = self._ages_ns
        return {
            'streaming_miou': miou(self._confusion),
            'streaming_age_ms': round(sum(ages) / len(ages) / 1e6, 3) if ages else None,
            'streaming_processed': self._frames['processed'],
            'streaming_dropped': self._frames['dropped'],
        }


def score_stream(
    engine: Engine,
    clip: Clip,
    frame_ms: Callable[[FrameResult], float] = total_ms,
    rate_hz: float | None = None,
) -> StreamScores:
    """Play a clip to the engine, in simulated time.

    Args:
        engine: With the schedule to be used; its stream is reset.
        clip: Frames after the last labelled one are left out.
        frame_ms: How long a frame takes; if not given, as long as the engine says it took.
        rate_hz: Of the camera, frames per second; None: the clip's own.
    """
    rate_hz = rate_hz or clip.rate_hz
    scores = StreamScores(clip.labels.num_classes)
    num_frames = clip.labelled[-1] + 1 if clip.labelled else 0
    arrivals_ns = [round(index * 1e9 / rate_hz) for index in range(num_frames)]
    num_processed = 0

    def process(index: int) -> tuple[Mask, int]:
        nonlocal num_processed
        num_processed += 1
        image, _ = read_frame(clip.frames[index], clip.labels)
        result = engine.step(image, arrivals_ns[index])
        return result.mask, round(frame_ms(result) * 1e6)

    engine.reset()
    publications = publish(arrivals_ns, process)
    for index, shown in enumerate(newest_by(arrivals_ns, publications)):
        if clip.frames[index].label is None:
            continue
        _, label = read_frame(clip.frames[index], clip.labels)
        assert label is not None
        if shown is None:
            scores.add_label(label, None)
        else:
            scores.add_label(label, shown.mask, arrivals_ns[index] - arrivals_ns[shown.frame])
    for _ in publications:  # what still waited when the last frame came
        pass
    scores.add_clip(num_processed, num_frames - num_processed)
    return scores


def publish(
    arrivals_ns: Sequence[int], process: Callable[[int], tuple[Mask, int]]
) -> Iterator[Publication]:
    """Segment the newest frame that has come whenever the worker is free.

    Args:
        arrivals_ns: When each frame comes, rising.
        process: Segments a frame; returns its mask and how long that took in ns.

    Yields:
        Every mask that is made, in order; nothing is processed before it is asked for.
    """
    frame, free_ns = -1, 0
    while frame + 1 < len(arrivals_ns):
        start_ns = max(free_ns, arrivals_ns[frame + 1])
        frame = bisect_right(arrivals_ns, start_ns) - 1
        mask, spent_ns = process(frame)
        free_ns = start_ns + spent_ns
        yield Publication(frame, mask, free_ns)


def newest_by(
    moments_ns: Iterable[int], publications: Iterable[Publication]
) -> Iterator[Publication | None]:
    """The newest publication at each of the moments, which rise; None before the first."""
    remaining = iter(publications)
    newest, coming = None, next(remaining, None)
    for moment_ns in moments_ns:
        while coming is not None and coming.published_ns <= moment_ns:
            newest, coming = coming, next(remaining, None)
        yield newest
