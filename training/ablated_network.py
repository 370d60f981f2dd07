"""Networks that leave a feature out on keyframes or on non-key frames (paper Table V).

They are trained and measured, not deployed: the node does not load them. A network that leaves
nothing out is a plain `DCFM` everywhere.

Shapes: B batch, C_F common channels, h w common grid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from os import PathLike
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
import torch.nn.functional as F

from dcfm_ros import engine
from dcfm_ros.backends.choice import Network
from dcfm_ros.backends.deep_task import DeepTask
from dcfm_ros.backends.device import resolve_device
from dcfm_ros.backends.tensor_backend import Tensors
from dcfm_ros.backends.torch_backend import TorchBackend
from dcfm_ros.engine import SegmentationEngine
from dcfm_ros.engine_options import EngineOptions
from dcfm_ros.keyframes.schedule_options import ScheduleOptions
from dcfm_ros.models import checkpoint
from dcfm_ros.models.backbone import Independent
from dcfm_ros.models.checkpoint_header import CheckpointMetadata, read_metadata
from dcfm_ros.models.config import MOTIONS, DCFMConfig, NetworkConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.image_networks.config import network_config
from dcfm_ros.models.staged import StagedNetwork


@dataclass(frozen=True, kw_only=True)
class AblatedConfig(DCFMConfig):
    """A network's architecture, and which features its head sees on which frames.

    Raises:
        ValueError: If a value is outside what its field says, or the head would see nothing.
    """

    backbone: str = ''
    """See `DCFMConfig.backbone`. Empty: that of the weights that a training starts from, which
    must be a package or a checkpoint; a checkpoint settles all of the architecture that is at its
    default, too."""
    motion: str = 'auto'
    """See `DCFMConfig.motion`. 'auto': that of the checkpoint that a training starts from, else
    'none'. 'none' and 'flow' win over the checkpoint."""
    key_uses_common: bool = True
    """False feeds a keyframe's head the independent feature alone."""
    key_uses_independent: bool = True
    """False feeds a keyframe's head the common feature alone."""
    nonkey_uses_common: bool = True
    """False feeds a non-key frame's head the independent feature alone."""
    nonkey_uses_independent: bool = True
    """False feeds a non-key frame's head the keyframe's common feature alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for frame in ('key', 'nonkey'):
            names = (f'{frame}_uses_common', f'{frame}_uses_independent')
            if not any(getattr(self, name) for name in names):
                raise ValueError(f'one of `{names[0]}` and `{names[1]}` must be True, got neither')

    def _check_backbone(self) -> None:
        if self.backbone:
            super()._check_backbone()

    def _check_motion(self) -> None:
        self.check_choice('motion', ('auto', *MOTIONS))

    @property
    def is_ablated(self) -> bool:
        """Whether any feature is left out."""
        return not all(getattr(self, name) for name in SWITCHES)


SWITCHES = tuple(f.name for f in fields(AblatedConfig) if '_uses_' in f.name)


class AblatedDCFM(DCFM):
    """A `DCFM` whose fusion depends on the frame's role."""

    fuses_linearly = False
    config: AblatedConfig

    def fuse(
        self, common: Tensor, independent: Independent, *, is_keyframe: bool = True
    ) -> Tensor:
        """See `DCFM.fuse`; (B, C_F, h, w)."""
        frame = 'key' if is_keyframe else 'nonkey'
        if not getattr(self.config, f'{frame}_uses_independent'):
            return common
        if not getattr(self.config, f'{frame}_uses_common'):
            feature = self.aligned(independent, (common.shape[-2], common.shape[-1]))
            return F.pad(feature, (0, 0, 0, 0, 0, self.common_channels - feature.shape[1]))
        return super().fuse(common, independent)

    def forward(self, reference: Tensor, image: Tensor) -> Tensor:
        """See `DCFM.forward`."""
        common = self.encode_common(self.encode_independent(reference))
        fused = self.fuse(common, self.encode_independent(image), is_keyframe=False)
        return self.decode(fused, (image.shape[-2], image.shape[-1]))


def fuse(net: DCFM, common: Tensor, independent: Independent, *, is_keyframe: bool) -> Tensor:
    """`net.fuse` of any network; the role matters to ablated ones only."""
    if isinstance(net, AblatedDCFM):
        return net.fuse(common, independent, is_keyframe=is_keyframe)
    return net.fuse(common, independent)


def build_network(config: NetworkConfig) -> DCFM | StagedNetwork:
    """The network of a configuration: a plain one if nothing is left out; motion 'auto' is 'none'.

    Raises:
        ImportError: If the library that builds it is not installed.
        ValueError: If the configuration fits no network.
    """
    if isinstance(config, AblatedConfig):
        if config.motion == 'auto':
            config = replace(config, motion=DCFMConfig.motion)
        if config.is_ablated:
            return AblatedDCFM(config)
        config = DCFMConfig(**{f.name: getattr(config, f.name) for f in fields(DCFMConfig)})
    return checkpoint.build_network(config)


def load_network(
    path: str | PathLike[str], device: str | torch.device = 'cpu'
) -> DCFM | StagedNetwork:
    """`load_checkpoint` for ablated networks too.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be used.
        ImportError: If it needs a library that is not installed.
    """
    net: DCFM | StagedNetwork = checkpoint.load_checkpoint(
        path, device, read_config=_read_config, build=build_network
    )
    return net


def load_for_engine(path: Path | str, options: EngineOptions) -> Network:
    """`dcfm_ros.engine.load_network` for ablated networks too; raises what either loader does."""
    config = read_network_metadata(path).config
    if isinstance(config, AblatedConfig) and config.is_ablated:
        return load_network(path)
    return engine.load_network(path, options)


def read_network_metadata(path: str | PathLike[str]) -> CheckpointMetadata[NetworkConfig]:
    """`read_metadata` for ablated networks too."""
    return read_metadata(path, _read_config)


def _read_config(values: Mapping[str, object]) -> NetworkConfig:
    """The configuration of an ablated network or any other."""
    if 'library' in values:
        return network_config(values)
    # Files older than `motion` do not name it.
    return AblatedConfig.from_dict({'motion': DCFMConfig.motion, **values})


def make_engine(
    net: Network, options: EngineOptions, schedule: ScheduleOptions
) -> SegmentationEngine:
    """An engine for any network.

    Raises:
        ValueError: As `SegmentationEngine`, or if an ablated network is not to run in PyTorch.
    """
    if not isinstance(net, AblatedDCFM):
        return SegmentationEngine(net, options, schedule)
    if options.backend not in ('auto', 'torch'):
        raise ValueError(f'`backend` must be torch for an ablated network, got {options.backend}')
    backend = AblatedBackend(net, resolve_device(options.device), options.precision)
    return SegmentationEngine(net, options, schedule, backend=backend)


class AblatedBackend(TorchBackend):
    """Runs an ablated network; knows keyframes as the frames that a feature was made from."""

    def __init__(self, net: AblatedDCFM, device: str, precision: str) -> None:
        """Prepare a copy of the network, see `TorchBackend`."""
        super().__init__(net, device, precision)
        self._ablated = cast('AblatedDCFM', self.net)
        # Of two keyframes (B mode) of two cameras (an image and its mirror).
        self._made: deque[tuple[Tensors, Tensor]] = deque(maxlen=4)

    def deep_task(self, independent: Independent) -> DeepTask:
        """See `Backend.deep_task`."""
        task = super().deep_task(independent)

        def note(common: Tensors) -> Tensors:
            self._made.append((common, independent.feature))
            return common

        task.steps = [*task.steps, note]
        return task

    @torch.inference_mode()
    def decode(self, cached: Sequence[Tensors], independent: Independent) -> Tensor:
        """See `Backend.decode`."""
        is_keyframe = any(
            common is cached[0] and feature is independent.feature
            for common, feature in self._made
        )
        net = self._ablated
        logits = [
            net.classify(fuse(net, common, independent, is_keyframe=is_keyframe))
            for (common,) in cached
        ]
        return reduce(torch.add, logits) / len(logits)
