"""What backends have in common that run graphs: PyTorch stands in, sizes come and go."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any, Generic, TypeVar
import warnings

from dcfm_ros.backends.interface import Backend

T = TypeVar('T')
Graphs = TypeVar('Graphs')

_MAX_SIZES = 2
_PATIENCE = 30
"""Images in a row until one more size gets graphs, and the oldest size loses its own."""


def failure_text(library: str, error: Exception) -> str:
    """What is said of a library that failed: its last line, where others are a trace."""
    *_, reason = repr(error), *filter(None, map(str.strip, str(error).splitlines()))
    return f'{library} failed, PyTorch goes on: {reason}'


class FallibleBackend(Backend):
    """A backend that a library runs, and PyTorch for good once that fails.

    PyTorch continues from there, so that neither the frame nor an unfinished keyframe is lost.
    """

    label: str
    """Of the library, for messages."""

    @property
    @abstractmethod
    def in_torch(self) -> Any:
        """The network in PyTorch, with its `name` and `precision`."""

    def give_up(self, error: Exception) -> None:
        """Free what the library holds, before PyTorch does its work."""

    def run(self, in_library: Callable[[], T], in_torch: Callable[[], T]) -> T:
        """The result of the library, or of PyTorch if the library fails, now or before."""
        if self.failure:
            return in_torch()
        try:
            return in_library()
        except Exception as error:  # whatever a library may raise
            self.give_up(error)
            try:
                done = in_torch()  # raises, too, if the frame is to blame
            except ImportError:
                raise error from None
            self.failure = failure_text(self.label, error)
            self.name, self.precision = self.in_torch.name, self.in_torch.precision
            warnings.warn(self.failure, RuntimeWarning, stacklevel=2)
            return done


class SizesInUse(Generic[Graphs]):
    """The graphs of the image sizes of one camera.

    Two sizes have graphs at once, another one after 30 images in a row: making them takes a
    moment, which is lost if sizes come and go.
    """

    def __init__(self, of_all_cameras: MutableMapping[Hashable, Graphs]) -> None:
        """Take the graphs of all cameras that share a network, which forgets unused ones."""
        self._all = of_all_cameras
        self._own: dict[Hashable, Graphs] = {}  # the oldest first
        self._last: Hashable = None
        self._in_a_row = 0

    def get(self, size: Hashable, make: Callable[[], Graphs]) -> Graphs | None:
        """The graphs for the next image, made if needed; None: not worth it yet."""
        self._in_a_row = self._in_a_row + 1 if size == self._last else 1
        self._last = size
        if size not in self._own:
            if len(self._own) == _MAX_SIZES:
                if self._in_a_row < _PATIENCE:
                    return None
                del self._own[next(iter(self._own))]
            self._own[size] = self._all[size] = self._all.get(size) or make()
        return self._own[size]

    def clear(self) -> None:
        """Forget this camera's."""
        self._own.clear()
