"""Threads beside the executor's: one processes frames, one keeps a pulse during long waits."""

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
        work: By camera: processes one of its frames. Deals with bad frames itself.
        on_failure: Called in the worker's thread with an exception of `work`; no more frames are
            taken after it.
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
        """Finish the current frame; return those that waited, by camera."""
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
    """Call `action` every `period_s` in a thread while the `with` body runs."""
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
