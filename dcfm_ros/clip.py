"""Segmenting a recorded clip, where the next keyframe may be used as well as the last (B mode)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.preprocess import check_image
from dcfm_ros.scheduler import Decision


class ClipReader:
    """Reads the images of a clip, each checked when it is asked for."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self.size: tuple[int, int] | None = None
        """(H, W) of every image; None before the first is read."""
        self._images = images

    def read(self, index: int) -> NDArray[np.uint8]:
        """One image; ValueError unless it is RGB, uint8, and of the size of the others."""
        image = self._images[index]
        check_image(image)
        self.size = self.size or (image.shape[0], image.shape[1])
        if image.shape[:2] != self.size:
            raise ValueError(f'`images` must be of one size, got {self.size} and {image.shape}')
        return image


@dataclass(frozen=True)
class ClipStep:
    """Which keyframes a frame of a clip is fused with; a keyframe is its own `previous`."""

    frame: int
    previous: int | None
    following: int | None
    decision: Decision

    @property
    def is_keyframe(self) -> bool:
        """True if the frame runs the deep encoder itself."""
        return self.previous == self.frame


def plan_clip(decisions: Iterable[Decision], mode: str = 'both') -> Iterator[ClipStep]:
    """Every frame of a clip in order, with its keyframes (paper IV-B and Algorithm 1).

    Frames before the first keyframe use the following one only, in either mode; frames after the
    last keyframe use the previous one only. Decisions are asked for no further ahead than the
    following keyframe.

    Args:
        decisions: The schedule's, one per frame.
        mode: 'both' (B mode: previous and following keyframe) or 'past' (P mode: previous only).

    Raises:
        ValueError: If `mode` is neither.
    """
    if mode not in ('both', 'past'):
        raise ValueError(f"`mode` must be 'both' or 'past', got {mode!r}")
    previous: int | None = None
    waiting: list[tuple[int, Decision]] = []  # for the following keyframe
    for frame, decision in enumerate(decisions):
        if decision.reason:
            yield from (ClipStep(index, previous, frame, other) for index, other in waiting)
            waiting.clear()
            previous = frame
            yield ClipStep(frame, frame, None, decision)
        elif mode == 'past' and previous is not None:
            yield ClipStep(frame, previous, None, decision)
        else:
            waiting.append((frame, decision))
    yield from (ClipStep(index, previous, None, other) for index, other in waiting)
