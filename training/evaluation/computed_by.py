"""What an engine computes with, which 'auto' leaves to the machine and to files at hand."""

from __future__ import annotations

from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.training.evaluation.averaged_views import Engine


def computed_by(engine: Engine) -> tuple[str, str]:
    """Backend and precision of an engine, as they are now: one that failed is PyTorch by then."""
    inner = engine if isinstance(engine, SegmentationEngine) else engine._engine
    return inner.backend.name, inner.backend.precision
