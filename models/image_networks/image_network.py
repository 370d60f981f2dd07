"""`ImageNetwork`: a network of another library, its deep stages on keyframes only.

Shapes: B batch, K classes, H W image; every feature is (B, C, h, w) on the grid of its stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dcfm_ros.models.backbone import DeepState, DeepStep, Independent, run_steps
from dcfm_ros.models.image_networks.config import ImageNetworkConfig
from dcfm_ros.models.image_networks.parts import Parts, Stage, TensorStep
from dcfm_ros.models.image_networks.segformer import segformer_parts
from dcfm_ros.models.image_networks.smp_network import smp_parts
from dcfm_ros.models.image_networks.torchvision_network import torchvision_parts
from dcfm_ros.models.split_decoder import split_decoder
from dcfm_ros.models.staged import StagedNetwork

_BUILDERS: dict[str, Callable[[ImageNetworkConfig], Parts]] = {
    'segformer': segformer_parts,
    'smp': smp_parts,
    'torchvision': torchvision_parts,
}


class ImageNetwork(StagedNetwork):
    """An encoder in stages and a decoder that may look at all of them.

    The features of the first stages (`ImageNetworkConfig.cut`) are every frame's own; those of the
    others are a keyframe's. Weights are random until a state dict is loaded; nothing is
    downloaded.

    Raises:
        ImportError: If the library that builds the network is not installed.
        ValueError: If the library does not know the architecture, it does not fit, or the cut
            leaves no stage for keyframes.
    """

    config: ImageNetworkConfig
    least_size = 128  # for PAN's poolings

    def __init__(self, config: ImageNetworkConfig) -> None:
        super().__init__()
        parts = _BUILDERS[config.library](config)
        self.config = config
        self.encoder = parts.encoder
        # By name, because whoever folds batch norms puts other modules in their places.
        names: dict[Any, str] = {module: name for name, module in parts.encoder.named_modules()}
        self._steps = [[names.get(step, step) for step in stage] for stage in parts.stages]
        self._used = parts.used
        self._num_shallow = config.cut + parts.num_before
        if self._num_shallow >= len(parts.stages):
            most = len(parts.stages) - parts.num_before - 1
            msg = f'`cut` must leave a stage for keyframes: at most {most}, got {config.cut}'
            raise ValueError(msg)
        self._num_fresh = sum(index < self._num_shallow for index in parts.used)
        for name, values in (('mean', config.image_mean), ('std', config.image_std)):
            buffer = torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)
        self.eval()
        parts.decoder.eval()
        with torch.no_grad():
            features = self.features(torch.zeros(1, 3, self.least_size, self.least_size))
        self.decoder = split_decoder(parts.decoder, features, self._num_fresh)
        self.train()

    @property
    def foldable(self) -> nn.Module:
        """See `StagedNetwork.foldable`: the decoder's weights are used in parts as well."""
        return self.encoder

    def _stage(self, index: int) -> Stage:
        """The steps of a stage."""
        find = self.encoder.get_submodule
        return [find(step) if isinstance(step, str) else step for step in self._steps[index]]

    def shallow(self, image: Tensor) -> Independent:
        """See `StagedNetwork.shallow`; `skips` are what the decoder uses, finest first."""
        x, skips = image, []
        for index in range(self._num_shallow):
            for step in self._stage(index):
                x = step(x)
            if index in self._used and index < self._num_shallow - 1:
                skips.append(x)
        return Independent(x, x, tuple(skips))

    def start(self, independent: Independent) -> DeepState:
        """See `StagedNetwork.start`."""
        return DeepState(independent.state, tuple(self._fresh(independent)))

    def deep_steps(self) -> list[DeepStep]:
        """See `StagedNetwork.deep_steps`: a block each, as far as a stage is a sequence."""
        steps: list[DeepStep] = []
        for index in range(self._num_shallow, len(self._steps)):
            *first, last = self._stage(index)
            steps += [partial(_run, step, is_output=False) for step in first]
            steps.append(partial(_run, last, is_output=index in self._used))
        return steps

    def to_cached(self, deep: DeepState) -> tuple[Tensor, ...]:
        """See `StagedNetwork.to_cached`; with what the decoder makes of deep features alone.

        In training mode the decoder runs whole, in `decode`: its batch norms are not linear then.
        """
        fresh, rest = deep.stages[: self._num_fresh], deep.stages[self._num_fresh :]
        if self.training:
            return tuple(rest)
        return self.decoder.keyframe(fresh, rest)

    def decode(self, cached: Sequence[Tensor], independent: Independent) -> Tensor:
        """See `StagedNetwork.decode`: logits as the library's head gives them.

        A last resizing that is plainly bilinear is left to the caller.
        """
        if self.training:
            return self.decoder.decoder([*self._fresh(independent), *cached])
        return self.decoder.frame(self._fresh(independent), cached)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of single images, RGB in [0, 1], (B, 3, H, W), as `decode` gives them."""
        mean, std = self.mean.to(image.dtype), self.std.to(image.dtype)
        return self.decoder.decoder(self.features((image - mean) / std))

    def features(self, image: Tensor) -> list[Tensor]:
        """All that the decoder uses of a normalised image, (B, 3, H, W), finest first."""
        independent = self.shallow(image)
        return list(run_steps(self.deep_steps(), self.start(independent)).stages)

    def _fresh(self, independent: Independent) -> list[Tensor]:
        """What the decoder uses of a frame's own features."""
        is_used = self._num_shallow - 1 in self._used
        return [*independent.skips, *([independent.feature] if is_used else [])]


def _run(step: TensorStep, state: DeepState, *, is_output: bool) -> DeepState:
    x = step(state.x)
    return DeepState(x, (*state.stages, x) if is_output else state.stages)
