"""A place for exactly one frame per camera: the newest."""

from __future__ import annotations

import threading
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar('T')


class Frame(NamedTuple):
    """An image message and when it arrived."""

    message: Any
    """sensor_msgs/Image or CompressedImage, by the parameter `image_transport`."""
    received_s: float
    """Steady clock, s."""


class FrameSlot(Generic[T]):
    """Hands the newest frames from the receiving thread to the worker.

    A frame that has not been taken when the camera's next one arrives is replaced: nothing queues
    up, and a slow worker is late by at most one frame per camera. Cameras are served in the order
    in which they began to wait, so that a fast camera cannot starve a slow one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frames: dict[str, T] = {}  # by camera, in the order of waiting
        self._closed = False

    def put(self, camera: str, frame: T) -> T | None:
        """Leave a frame; never waits.

        Returns:
            The frame that will not be processed: the one replaced, or, in a closed slot,
            `frame` itself. None if there is none.
        """
        with self._changed:
            if self._closed:
                return frame
            replaced = self._frames.get(camera)
            self._frames[camera] = frame  # in the place of the one it replaces
            self._changed.notify()
            return replaced

    def take(self) -> tuple[str, T] | None:
        """Wait for a frame and remove it, with its camera; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frames)
            if self._closed:
                return None
            camera = next(iter(self._frames))
            return camera, self._frames.pop(camera)

    def discard(self) -> dict[str, T]:
        """Remove the waiting frames and return them by camera."""
        with self._changed:
            frames, self._frames = self._frames, {}
            return frames

    def close(self) -> dict[str, T]:
        """Have `take` return None from now on; returns the frames that were still waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self.discard()
