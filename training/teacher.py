"""A trained network as a teacher: its probabilities, averaged over several views of an image.

Shapes: K classes, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.training.ablated_network import load_network, make_engine, read_network_metadata
from dcfm_ros.training.evaluation.averaged_views import MultiScaleEngine

Image = NDArray[np.uint8]


class Teacher:
    """A network that looks at each image at several sizes, and at each of them mirrored too."""

    def __init__(
        self,
        checkpoint: Path,
        scales: Sequence[float] = (0.75, 1.0, 1.25),
        *,
        flip: bool = True,
        device: str = 'auto',
        height: int | None = None,
    ) -> None:
        """Load it.

        Args:
            checkpoint: Its weights.
            scales: Factors of the size that it works at, above 0.
            flip: Whether it looks at mirrored images too.
            device: Where it runs, as in `SegmentationEngine`.
            height: Rows at scale 1, at most those of the image; None or 0: as it was trained.

        Raises:
            FileNotFoundError: If there is no such checkpoint.
            CheckpointError: If the file cannot be used.
            ValueError: If there is no scale, one is not above 0, or the device is absent.
        """
        if not scales:
            raise ValueError(f'`scales` must be numbers above 0, got {list(scales)}')
        height = height or read_network_metadata(checkpoint).image_height
        net, options = load_network(checkpoint), EngineOptions(device=device)
        self.config = net.config
        self.settings = {
            'checkpoint': str(checkpoint),
            'checkpoint_sha256': hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            'inference_height': height,
            'scales': list(scales),
            'flip': flip,
        }
        """What the labels follow from, for their record."""
        self._flip = flip
        # One engine would average the logits, in which a view that is far too sure outvotes all.
        self._engines = [
            MultiScaleEngine(
                make_engine(net, options, ScheduleOptions()), [scale], height, flip=False
            )
            for scale in scales
        ]

    def __call__(self, image: Image) -> Tensor:
        """Probability of every class, mean over the views: RGB (H, W, 3) -> (K, H, W)."""
        turns = (False, True) if self._flip else (False,)
        temperature = self.config.confidence_temperature
        views = (
            _look(engine, image, turn, temperature) for engine in self._engines for turn in turns
        )
        return reduce(torch.add, views) / (len(self._engines) * len(turns))


def _look(engine: MultiScaleEngine, image: Image, is_mirrored: bool, temperature: float) -> Tensor:
    """Probability of every class in one view, (K, H, W)."""
    view = np.ascontiguousarray(image[:, ::-1]) if is_mirrored else image
    logits = torch.from_numpy(engine.step(view, 0).logits[0]) / temperature
    return (logits.flip(-1) if is_mirrored else logits).softmax(0)
