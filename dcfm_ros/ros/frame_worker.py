"""Threads beside the executor: the one that works on frames, and a pulse for long waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import threading
from typing import Generic, TypeVar

from dcfm_ros.ros.frame_slot import FrameSlot

T = TypeVar('T')


class FrameWorker(Generic[T]):
    """Takes the frames of all cameras from its slot until it is stopped; owns slot and thread.

    Args:
        work: By camera: called with each of its frames. Deals with bad frames itself.
        on_failure: Called, in the worker's thread, with what `work` raised all the same; no more
            frames are taken then.
    """

    def __init__(
        self, work: Mapping[str, Callable[[T], None]], on_failure: Callable[[Exception], None]
    ) -> None:
        self.slot: FrameSlot[T] = FrameSlot()
        self._work = work
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name='segmentation')
        self._thread.start()

    def stop(self) -> dict[str, T]:
        """Finish the frame that is under way; return those that waited, by camera."""
        waiting = self.slot.close()
        self._thread.join()
        return waiting

    def _run(self) -> None:
        while (taken := self.slot.take()) is not None:
            camera, frame = taken
            try:
                self._work[camera](frame)
            except Exception as error:
                self._on_failure(error)
                return


@contextmanager
def repeated(action: Callable[[], None], period_s: float) -> Iterator[None]:
    """Call `action` every `period_s` in a thread, for as long as the `with` body runs."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(period_s):
            action()

    thread = threading.Thread(target=run, name='repeated')
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
