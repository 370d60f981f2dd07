"""A network by the name of a preset or checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from dcfm_ros.models.checkpoint import find_checkpoint, load_checkpoint
from dcfm_ros.models.config import PRESETS, DCFMConfig
from dcfm_ros.models.dcfm import DCFM


def load_model(model: str) -> DCFM:
    """Build or load a network, in eval mode.

    Args:
        model: A preset, with random weights (always the same), or a checkpoint as in
            `find_checkpoint`.

    Raises:
        FileNotFoundError: If it is neither.
        CheckpointError: If the file cannot be used.
    """
    if model in PRESETS and not Path(model).exists():
        torch.manual_seed(0)
        return DCFM(DCFMConfig.preset(model)).eval()
    return load_checkpoint(find_checkpoint(model)).eval()
