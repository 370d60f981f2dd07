"""When is the next keyframe."""

from __future__ import annotations


class FixedScheduler:
    """A keyframe every `interval` frames (the paper's K); 1 makes every frame a keyframe."""

    def __init__(self, interval: int = 2) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ValueError(f'`interval` must be a whole number from 1, got {interval!r}')
        self.interval = interval

    def is_due(self, age: int) -> bool:
        """Whether a frame that lies `age` frames after the last keyframe must be one itself."""
        return age >= self.interval
