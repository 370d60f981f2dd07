"""A network, and how much of it the GPU check measures."""

from __future__ import annotations

from dataclasses import dataclass

from dcfm_ros.engine_options import EngineOptions


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, and how much of it is measured."""

    model: str
    """As in `load_model`."""
    size: tuple[int, int]
    """(H, W) of the frames."""
    device: str
    """'cpu' or 'cuda:N'."""
    timed: int
    """Frames to time, rounded up to whole intervals."""
    compared: int
    """Frames whose masks are compared, rounded up likewise."""
    watched: int
    """Frames while memory is watched, at least 10."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """In which it is measured, fp32 first; a CPU only imitates fp16, slowly."""
        return ('fp32', 'bf16', 'fp16') if self.is_on_gpu else ('fp32', 'bf16')

    @property
    def is_on_gpu(self) -> bool:
        """Whether the network runs on CUDA."""
        return self.device.startswith('cuda')

    def options(self, precision: str, *, motion: str = 'auto') -> EngineOptions:
        """How the engine runs the network: in PyTorch, on CUDA with graphs."""
        return EngineOptions(
            device=self.device, backend='torch', precision=precision, motion=motion
        )
