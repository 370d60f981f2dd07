"""`load_network`: weights in the form that an engine runs."""

from __future__ import annotations

from os import PathLike

from dcfm_ros.backends import choice
from dcfm_ros.backends.choice import Network
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint_header import find_checkpoint


def load_network(
    checkpoint: str | PathLike[str] | None = None, options: EngineOptions | None = None
) -> Network:
    """Load weights for an engine; without PyTorch where OpenVINO runs them.

    Args:
        checkpoint: A file, or the name of packaged weights; None: the packaged default.
        options: How the engine will run them; None: the defaults.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file cannot be used.
        GraphsError: If the file of graphs beside it cannot be used.
        ValueError: If options exclude each other, or name a device that is absent.
        ImportError: If the backend is not installed, or there are no graphs for OpenVINO and no
            PyTorch to make them with.
    """
    how = options or EngineOptions()
    path = find_checkpoint(checkpoint)
    return choice.load_network(path, how.device, how.backend, how.precision)
