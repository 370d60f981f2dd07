"""The graphs of a checkpoint, for machines without PyTorch."""

from __future__ import annotations

from pathlib import Path

from dcfm_ros.backends.choice import Network
from dcfm_ros.backends.prepared_network import prepare
from dcfm_ros.deploy.agreement import compare_masks
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.models.checkpoint import load_checkpoint
from dcfm_ros.recordings.sources import synthetic_frames
from dcfm_ros.synthetic.drive import DriveConfig

LEAST_AGREEMENT = 0.995
"""Share of equal pixels below which nothing is written."""
_DRIVES = (
    DriveConfig(seed=7, num_frames=6, height=192, width=256),
    DriveConfig(seed=8, num_frames=6, height=150, width=202),  # odd grids
)


def prepare_checkpoint(path: Path, output: Path) -> float:
    """Write the graphs of a checkpoint, if OpenVINO's masks with them are those of PyTorch.

    Args:
        path: Checkpoint.
        output: File to write.

    Returns:
        Share of equal pixels, both computed in float32, on synthetic drives of two sizes.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it cannot be used.
        ImportError: If OpenVINO or ONNX is not installed.
        UntranslatableError: If PyTorch cannot translate the network.
        RuntimeError: If fewer than `LEAST_AGREEMENT` of the pixels agree.
    """
    net = load_checkpoint(path)
    prepared = prepare(net)

    def engine(network: Network, backend: str) -> SegmentationEngine:
        how = EngineOptions(device='cpu', backend=backend, precision='fp32', mask_blending=0.0)
        return SegmentationEngine(network, how)

    shares = [
        compare_masks(engine(net, 'torch'), engine(prepared, 'openvino'), synthetic_frames(d))[0]
        for d in _DRIVES
    ]
    if min(shares) < LEAST_AGREEMENT:
        raise RuntimeError(
            f'{min(shares):.3%} of the pixels agree with PyTorch, at least {LEAST_AGREEMENT:.1%} '
            'are needed; nothing written'
        )
    prepared.graphs.save(output)
    return min(shares)
