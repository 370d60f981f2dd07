"""One pass of the engine over a clip under a schedule, frames without use left out.

Shapes: N frames of a clip, K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.engine import FrameResult
from dcfm_ros.images.preprocess import shrink
from dcfm_ros.keyframes.adaptive_schedule import make_schedule
from dcfm_ros.keyframes.schedule import Observation
from dcfm_ros.training.evaluation.averaged_views import Engine
from dcfm_ros.training.evaluation.scores import LabelHold, PassScores, both_known
from dcfm_ros.training.evaluation.setting import Setting
from dcfm_ros.training.footage.clips import Clip, Frame
from dcfm_ros.training.footage.decoding import read_frame

Image = NDArray[np.uint8]


def needed_spans(
    labelled: Sequence[int], num_frames: int, setting: Setting, start: int
) -> list[range]:
    """Runs of frames that the labelled ones depend on.

    In P mode each begins with a keyframe, and with the first one if class scores are blended: some
    of each frame's stays for ever. Labels before the first keyframe have no mask in P mode,
    nor have those that come before its feature would in a long run.

    Args:
        labelled: Indices of the frames with a label.
        num_frames: N.
        setting: The schedule.
        start: First keyframe.
    """
    if setting.needs_network and labelled:  # to count the keyframes, if for nothing else
        return [range(start if setting.mode == 'past' else 0, num_frames)]
    if setting.mode == 'past':
        labelled = [index for index in labelled if index >= start + setting.delay]
    if not labelled:
        return []
    if setting.is_adaptive:  # every decision depends on those before it
        first = start if setting.mode == 'past' else 0
        ends_early = setting.mode == 'past' and not setting.delay
        return [range(first, labelled[-1] + 1 if ends_early else num_frames)]
    if setting.is_stream:
        return [range(start, labelled[-1] + 1)]
    needed = np.zeros(num_frames + 1, np.bool_)  # the last one ends the last span
    for index in labelled:
        if index < start:
            first, last = index, start
        else:
            first = index - (index - start) % setting.interval
            if index - first < setting.delay:  # that keyframe is not done yet
                first -= setting.interval
            following = first + setting.interval
            has_following = index > first and following < num_frames
            last = following if setting.mode == 'both' and has_following else index
        needed[first : last + 1] = True
    edges = np.flatnonzero(np.diff(needed, prepend=False)).tolist()
    return [range(first, stop) for first, stop in zip(edges[::2], edges[1::2], strict=True)]


def segment_clip(
    engine: Engine, clip: Clip, setting: Setting, start: int
) -> Iterator[tuple[Image | None, FrameResult]]:
    """Segment what is needed of a clip; the engine's schedule is replaced and its stream reset.

    In B mode the frames before the first keyframe, `start`, use it.

    Yields:
        The label (H, W) of a frame, None where it has none or is not to be counted, and what the
        engine made of it.
    """
    for span in needed_spans(clip.labelled, len(clip.frames), setting, start):
        engine.schedule = setting.keyframes
        if setting.mode == 'past':
            engine.reset()
            for index in span:
                image, label = read_frame(clip.frames[index], clip.labels)
                result = engine.step(image, round(index * 1e9 / clip.rate_hz))
                yield label if index >= start + setting.delay else None, result
            continue
        images = _ClipImages(clip, span)
        keyframe = next(i for i in span if i >= start and (i - start) % setting.interval == 0)
        results = engine.segment_clip(images, keyframe - span.start, 'both')
        for index, result in zip(span, results, strict=True):
            yield images.labels.pop(index), result
            if index == clip.labelled[-1] and not setting.needs_network:
                return


def score_pass(
    engine: Engine, clip: Clip, setting: Setting, start: int, height: int = 0
) -> PassScores:
    """Segment a clip once and compare with its labels; see `segment_clip`.

    `height` is that of the images that the engine's schedule is shown; 0: that of the clip's.

    Video consistency and the held label need a label for every frame of the clip. Few frames are
    kept at a time, however long the clip. Where the deep encoder is spread over frames, nothing is
    held: a keyframe's mask is not made with its own feature.
    """
    scores = PassScores(clip.labels)
    is_dense = len(clip.labelled) == len(clip.frames)
    keyframe: tuple[Image, Image | None] | None = None  # its mask and label
    for label, result in segment_clip(engine, clip, setting, start):
        scores.times.add(result)
        scores.counts.update(run=1, run_keyframes=int(result.is_keyframe))
        if result.is_keyframe and setting.execution == 'sync':
            keyframe = result.mask, label
        if label is None:
            continue
        role = {'age': result.keyframe_age, 'start': start}
        scores.engine.add_frame(result.mask, label, **role)
        num_classes = clip.labels.num_classes
        scores.reliability.update(result.mask, result.confidence, label, num_classes)
        if is_dense:
            scores.engine.add_video_frame(result.mask, label)
        if keyframe is None:
            continue
        held_mask, held_label = keyframe
        if held_mask.shape != label.shape:  # a size that changes begins with a keyframe
            keyframe = None
            scores.hold.end_clip()
            continue
        scores.hold.add_frame(held_mask, label, **role)
        if is_dense and held_label is not None:
            scores.hold.add_video_frame(held_mask, label)
            known = both_known(held_label, label, clip.labels.num_classes)
            scores.label_hold.add_frame(held_label, known, **role)
    scores.engine.end_clip()
    scores.hold.end_clip()
    if clip.labelled:
        num_frames = len(clip.frames) - (start if setting.mode == 'past' else 0)
        keyframes = scores.counts['run_keyframes']
        if scores.counts['run'] != num_frames:
            keyframes = _count_keyframes(clip, setting, start, height)
        scores.counts.update(frames=num_frames, keyframes=keyframes)
    return scores


def _count_keyframes(clip: Clip, setting: Setting, start: int, height: int) -> int:
    """Keyframes of a whole clip, which the images alone tell, at a height, or nothing at all."""

    def look(index: int) -> Observation:
        image, _ = read_frame(Frame(clip.frames[index].image), clip.labels)
        return Observation(image=shrink(image, height))

    num_frames = len(clip.frames)
    # Offline an adaptive schedule makes the last frame a keyframe; a live stream knows no last.
    known = num_frames + (setting.mode == 'past')
    decisions = make_schedule(setting.keyframes).decide_clip(known, look, start)
    return sum(bool(decision.reason) for decision in islice(decisions, num_frames))


def score_label_hold(clip: Clip) -> LabelHold:
    """Show old labels of a clip; nothing is counted where not every frame has one."""
    scores = LabelHold(clip.labels.num_classes)
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
