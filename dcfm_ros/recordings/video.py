"""Videos that every browser plays (H.264)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray


class VideoWriter:
    """Writes RGB frames to an MP4 file.

    Use as a context manager: the file appears when the body ends without an error.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path = path
        self._part = path.with_name(f'.{path.name}.part.mp4')
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._part), 'w')
        rate = Fraction(rate_hz).limit_denominator(1000)
        self._stream = self._container.add_stream('libx264', rate=rate)
        self._stream.pix_fmt = 'yuv420p'
        self._stream.options = {'preset': 'veryfast', 'crf': '23'}
        self._size: tuple[int, int] | None = None  # (W, H)

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append an RGB frame, (H, W, 3).

        The first one sets the size of the video, cut to even numbers but at least 2; others are
        scaled to it.
        """
        height, width = (max(length // 2 * 2, 2) for length in image.shape[:2])
        if self._size is None:
            self._size = self._stream.width, self._stream.height = width, height
        fitting = np.ascontiguousarray(image[:height, :width])
        if fitting.shape[1::-1] != self._size:
            fitting = np.asarray(cv2.resize(fitting, self._size), np.uint8)
        frame = av.VideoFrame.from_ndarray(fitting, format='rgb24')
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        is_whole = kind is None and self._size is not None
        try:
            with self._container:
                if is_whole:
                    self._container.mux(self._stream.encode())
            if is_whole:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)
