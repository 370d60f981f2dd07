"""Writing videos that every browser plays (H.264)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray


class VideoWriter:
    """Writes RGB frames to an MP4 file, which appears under its name only when it is whole."""

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._part = path.with_name(f'.{path.name}.part.mp4')
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._part), 'w')
        rate = Fraction(rate_hz).limit_denominator(1000)
        self._stream = self._container.add_stream('libx264', rate=rate)
        self._stream.pix_fmt = 'yuv420p'
        self._stream.options = {'preset': 'veryfast', 'crf': '23'}
        self._size: tuple[int, int] | None = None

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append one RGB frame, (H, W, 3); the first sets the size (cut to even numbers)."""
        if self._size is None:
            self._size = (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2)
            self._stream.height, self._stream.width = self._size
        height, width = self._size
        if image.shape[0] < height or image.shape[1] < width:
            raise ValueError(f'`image` must be at least {self._size}, got {image.shape}')
        whole = np.ascontiguousarray(image[:height, :width])
        frame = av.VideoFrame.from_ndarray(whole, format='rgb24')
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._size is not None and kind is None:
            self._container.mux(self._stream.encode())
        self._container.close()
        if self._size is not None and kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)
