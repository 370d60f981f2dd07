"""One pass of the engine over a clip under a schedule, frames without use left out.

Shapes: N frames of a clip, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import FrameResult, SegmentationEngine
from dcfm_ros.preprocess import shrink
from dcfm_ros.scheduler import AdaptiveScheduler, FixedScheduler, Schedule
from dcfm_ros.training.clips import Clip, Frame
from dcfm_ros.training.datasets import read_frame
from dcfm_ros.training.evaluation.scores import LabelHold, PassScores, both_known

Image = NDArray[np.uint8]

MODES = ('past', 'both')
PHASES = ('all', 'first', 'video-index')


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where keyframes lie and how they are used, for one row of figures."""

    interval: int = 2
    """Frames from keyframe to keyframe; of an adaptive schedule the least (the paper's MinK)."""
    threshold: float | None = None
    """Change score that makes a keyframe; None: the schedule is fixed."""
    max_interval: int | None = None
    """Frames from keyframe to keyframe at most, of an adaptive schedule; None: no limit."""
    mode: str = 'past'
    """'past' (P mode, live) or 'both' (B mode: the following keyframe too, offline)."""
    phases: str = 'all'
    """First keyframe of a clip: 'first' is its first frame; 'all' each of its first `interval`
    frames in turn, pooled; 'video-index' the number of the clip modulo `interval`, as the paper's
    code has it. With 'all' a label is met at every age; in P mode only from frame `interval` - 1
    on, and frame j before it at ages 0 to j, for nothing precedes a clip. An adaptive schedule
    begins with the first frame (paper IV-D): 'all' becomes 'first'."""

    def __post_init__(self) -> None:
        for name, allowed in (('mode', MODES), ('phases', PHASES)):
            if getattr(self, name) not in allowed:
                listed = ' or '.join(map(repr, allowed))
                raise ValueError(f'`{name}` must be {listed}, got {getattr(self, name)!r}')
        if self.phases == 'video-index' and self.mode == 'past':
            raise ValueError(
                "`phases` must be 'first' or 'all' in mode 'past': frames before the first "
                "keyframe have no past, and the paper's code starts P mode with the first frame"
            )
        if self.threshold is None and self.max_interval is not None:
            raise ValueError('`max_interval` must be None for a fixed schedule')
        self.scheduler()
        if self.threshold is not None and self.phases == 'all':
            object.__setattr__(self, 'phases', 'first')

    @property
    def schedule(self) -> str:
        """'fixed' or 'adaptive'."""
        return 'fixed' if self.threshold is None else 'adaptive'

    def scheduler(self) -> Schedule:
        """A new schedule for the engine."""
        if self.threshold is None:
            return FixedScheduler(self.interval)
        return AdaptiveScheduler(self.threshold, self.interval, self.max_interval)

    def starts(self, num_frames: int, clip_index: int) -> Sequence[int]:
        """First keyframes of the passes over a clip."""
        if self.phases == 'video-index':
            return (min(clip_index % self.interval, num_frames - 1),)
        return (0,) if self.phases == 'first' else range(min(self.interval, num_frames))


def needed_spans(
    labelled: Sequence[int], num_frames: int, setting: Setting, start: int
) -> list[range]:
    """Runs of frames that the labelled ones depend on.

    In P mode each begins with a keyframe. Labels before the first keyframe have no mask in P mode.

    Args:
        labelled: Indices of the frames with a label.
        num_frames: N.
        setting: The schedule.
        start: First keyframe.
    """
    if setting.mode == 'past':
        labelled = [index for index in labelled if index >= start]
    if not labelled:
        return []
    if setting.threshold is not None:  # every decision depends on those before it
        first = start if setting.mode == 'past' else 0
        return [range(first, labelled[-1] + 1 if setting.mode == 'past' else num_frames)]
    needed = np.zeros(num_frames + 1, np.bool_)  # the last one ends the last span
    for index in labelled:
        if index < start:
            first, last = index, start
        else:
            first = index - (index - start) % setting.interval
            following = first + setting.interval
            has_following = index > first and following < num_frames
            last = following if setting.mode == 'both' and has_following else index
        needed[first : last + 1] = True
    edges = np.flatnonzero(np.diff(needed, prepend=False)).tolist()
    return [range(first, stop) for first, stop in zip(edges[::2], edges[1::2], strict=True)]


def segment_clip(
    engine: SegmentationEngine, clip: Clip, setting: Setting, start: int
) -> Iterator[tuple[Image | None, FrameResult]]:
    """Segment what is needed of a clip, from its first keyframe on.

    Args:
        engine: Its schedule is replaced and its stream reset.
        clip: What to segment.
        setting: The schedule and what is used of it.
        start: First keyframe; in B mode the frames before it use it.

    Yields:
        The label (H, W) of a frame, None where it has none, and what the engine made of it.
    """
    for span in needed_spans(clip.labelled, len(clip.frames), setting, start):
        engine.schedule = setting.scheduler()
        if setting.mode == 'past':
            engine.reset()
            for index in span:
                image, label = read_frame(clip.frames[index], clip.labels)
                yield label, engine.step(image, round(index * 1e9 / clip.rate_hz))
            continue
        images = _ClipImages(clip, span)
        keyframe = next(i for i in span if i >= start and (i - start) % setting.interval == 0)
        results = engine.segment_clip(images, keyframe - span.start, 'both')
        for index, result in zip(span, results, strict=True):
            yield images.labels.pop(index), result
            if index == clip.labelled[-1]:
                return


def score_pass(
    engine: SegmentationEngine, clip: Clip, setting: Setting, start: int, num_classes: int
) -> PassScores:
    """Segment a clip once and compare with its labels; see `segment_clip`.

    Video consistency and the held label need a label for every frame of the clip. Few frames are
    kept at a time, however long the clip.
    """
    scores = PassScores(num_classes)
    is_dense = len(clip.labelled) == len(clip.frames)
    keyframe: tuple[Image, Image | None] | None = None  # its mask and label
    for label, result in segment_clip(engine, clip, setting, start):
        is_keyframe = result.is_keyframe
        scores.frame_ms[is_keyframe].append(sum(result.stage_ms.values()))
        if is_keyframe:
            keyframe = result.mask, label
        if label is None:
            continue
        scores.engine.add_frame(result.mask, label, is_keyframe=is_keyframe, start=start)
        if is_dense:
            scores.engine.add_video_frame(result.mask, label)
        if keyframe is None:
            continue
        held_mask, held_label = keyframe
        scores.hold.add_frame(held_mask, label, is_keyframe=is_keyframe, start=start)
        if is_dense and held_label is not None:
            scores.hold.add_video_frame(held_mask, label)
            known = both_known(held_label, label)
            scores.label_hold.add_frame(held_label, known, is_keyframe=is_keyframe, start=start)
    scores.engine.end_clip()
    scores.hold.end_clip()
    if clip.labelled:
        scores.num_frames = len(clip.frames) - (start if setting.mode == 'past' else 0)
        num_run = sum(map(len, scores.frame_ms.values()))
        scores.num_keyframes = (
            len(scores.frame_ms[True])
            if num_run == scores.num_frames
            else _count_keyframes(clip, setting, start, engine.inference_height)
        )
    return scores


def _count_keyframes(clip: Clip, setting: Setting, start: int, height: int) -> int:
    """Keyframes of a whole clip; only an adaptive schedule looks at the images, at a height."""

    def read(index: int) -> Image:
        image, _ = read_frame(Frame(clip.frames[index].image), clip.labels)
        return shrink(image, height)

    num_frames = len(clip.frames)
    # Offline an adaptive schedule makes the last frame a keyframe; a live stream knows no last.
    known = num_frames + (setting.mode == 'past')
    decisions = setting.scheduler().decide_clip(known, read, start)
    return sum(bool(decision.reason) for decision in islice(decisions, num_frames))


def score_label_hold(clip: Clip, num_classes: int) -> LabelHold:
    """Show old labels of a clip; nothing is counted where not every frame has one."""
    scores = LabelHold(num_classes)
    if len(clip.labelled) == len(clip.frames):
        labels = (read_frame(frame, clip.labels)[1] for frame in clip.frames)
        scores.add_clip(label for label in labels if label is not None)
    return scores


class _ClipImages(Sequence[Image]):
    """Images of a span, read when asked for; their labels wait in `labels`, by frame."""

    def __init__(self, clip: Clip, span: range) -> None:
        self.labels: dict[int, Image | None] = {}
        self._clip = clip
        self._span = span

    def __getitem__(self, index: Any) -> Any:
        frame = self._span[index]
        image, self.labels[frame] = read_frame(self._clip.frames[frame], self._clip.labels)
        return image

    def __len__(self) -> int:
        return len(self._span)
