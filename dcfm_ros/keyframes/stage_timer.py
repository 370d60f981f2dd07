"""Stage times of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import time

import torch


class StageTimer:
    """Measures named stages in ms of a steady clock; waits for the GPU at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stage_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the body of a `with` statement; a stage in two parts is their sum."""
        start = time.perf_counter()
        yield
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        elapsed_ms = (time.perf_counter() - start) * 1e3
        self.stage_ms[name] = self.stage_ms.get(name, 0.0) + elapsed_ms
