"""Segmenting a recorded clip, where the next keyframe may be used as well as the last (B mode)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ClipStep:
    """Which keyframes a frame of a clip is fused with; a keyframe is its own `previous`."""

    frame: int
    previous: int | None
    following: int | None

    @property
    def is_keyframe(self) -> bool:
        """True if the frame runs the deep encoder itself."""
        return self.previous == self.frame


def clip_schedule(
    num_frames: int, interval: int, start: int = 0, mode: str = 'both'
) -> Iterator[ClipStep]:
    """Keyframes at `start`, `start` + `interval`, ...; every frame in order (paper IV-B).

    Frames before the first keyframe use the following one only, in either mode; frames after the
    last keyframe use the previous one only.

    Args:
        num_frames: Length of the clip.
        interval: Keyframe interval K in frames, at least 1.
        start: First keyframe, from 0.
        mode: 'both' (B mode: previous and following keyframe) or 'past' (P mode: previous only).

    Raises:
        ValueError: If a value is outside these.
    """
    if interval < 1:
        raise ValueError(f'`interval` must be at least 1, got {interval}')
    if start < 0:
        raise ValueError(f'`start` must be at least 0, got {start}')
    if mode not in ('both', 'past'):
        raise ValueError(f"`mode` must be 'both' or 'past', got {mode!r}")
    for frame in range(num_frames):
        since = (frame - start) % interval
        previous = frame - since if frame >= start else None
        following = start if frame < start else frame - since + interval
        if following >= num_frames or (mode == 'past' and previous is not None):
            yield ClipStep(frame, previous, None)
        elif since == 0 and previous is not None:
            yield ClipStep(frame, frame, None)
        else:
            yield ClipStep(frame, previous, following)
