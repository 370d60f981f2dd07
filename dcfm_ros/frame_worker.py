"""The one thread that works on frames, so that the executor never waits for the network."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Generic, TypeVar

from dcfm_ros.frame_slot import FrameSlot

T = TypeVar('T')


class FrameWorker(Generic[T]):
    """Takes frames from its slot until it is stopped; owns slot and thread.

    Args:
        work: Called with each frame. Deals with bad frames itself.
        on_failure: Called, in the worker's thread, with what `work` raised all the same; no more
            frames are taken then.
    """

    def __init__(self, work: Callable[[T], None], on_failure: Callable[[Exception], None]) -> None:
        self.slot: FrameSlot[T] = FrameSlot()
        self._work = work
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name='segmentation')
        self._thread.start()

    def stop(self) -> T | None:
        """Finish the frame that is under way; return the one that waited, if there is one."""
        waiting = self.slot.close()
        self._thread.join()
        return waiting

    def _run(self) -> None:
        while (frame := self.slot.take()) is not None:
            try:
                self._work(frame)
            except Exception as error:
                self._on_failure(error)
                return
