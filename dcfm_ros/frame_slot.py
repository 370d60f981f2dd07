"""A place for exactly one frame: the newest."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class FrameSlot(Generic[T]):
    """Hands the newest frame from the thread that receives to the thread that works.

    What has not been taken when the next frame comes is replaced, so nothing ever queues up and a
    slow worker is late by one frame at most. Keeps the number of replaced frames.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: T | None = None
        self._closed = False
        self._replaced = 0

    @property
    def replaced(self) -> int:
        """How many frames were put here and overwritten by a newer one."""
        with self._changed:
            return self._replaced

    def put(self, frame: T) -> T | None:
        """Leave a frame; never waits.

        Returns:
            The frame that will not be worked on: the one it replaces, or, in a closed slot,
            `frame` itself. None if there is none.
        """
        with self._changed:
            if self._closed:
                return frame
            replaced, self._frame = self._frame, frame
            if replaced is not None:
                self._replaced += 1
            self._changed.notify()
            return replaced

    def take(self) -> T | None:
        """Wait for a frame and remove it; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frame is not None)
            return self._remove()

    def discard(self) -> T | None:
        """Remove the frame that waits, if there is one, and return it."""
        with self._changed:
            return self._remove()

    def close(self) -> T | None:
        """Let `take` return None from now on; returns the frame that was still waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._remove()

    def _remove(self) -> T | None:
        frame, self._frame = self._frame, None
        return frame
