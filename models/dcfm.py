"""The DCFM network as four stages that training, evaluation and the robot compose.

Shapes: B batch, K classes, H W image, C_F common channels, C_f independent channels,
h w common grid (MiT and timm: H/4, W/4; ResNet: H/8, W/8).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.models.backbone import Encoder, Independent
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, Configured, DCFMConfig
from dcfm_ros.models.fusion import FeatureFusion, align
from dcfm_ros.models.head import build_head
from dcfm_ros.models.mit import MiTEncoder
from dcfm_ros.models.resnet import ResNetEncoder
from dcfm_ros.models.timm_backbone import TimmEncoder, timm_normalisation


class DCFM(nn.Module, Configured):
    """Deep Common Feature Mining, the network of the paper's Eq. 1 to 7.

    Holds weights only; what is remembered from frame to frame is kept by the engine.
    """

    config: DCFMConfig
    fuses_linearly = True
    """Whether `fuse` is one convolution of both features, which a backend may split and fold; a
    subclass with another `fuse` says False."""

    def __init__(self, config: DCFMConfig) -> None:
        super().__init__()
        self.encoder = _build_encoder(config)
        self.config = config = _with_normalisation(config)
        """As given, with the normalisation of the backbone if it has none."""
        channels = self.encoder.out_channels
        default = {'resnet18': 320, 'resnet50': 1280, 'resnet101': 1280}.get(config.backbone, 0)
        self.common_channels = config.common_channels or default or channels
        self.common_projection: nn.Module = nn.Identity()
        if config.common_channels or default:
            self.common_projection = nn.Conv2d(channels, self.common_channels, 1, bias=False)
        self.fusion = FeatureFusion(self.common_channels, self.encoder.independent_channels)
        self.head = build_head(config, self.common_channels)
        self.mean: Tensor
        self.std: Tensor
        for part in (self.common_projection, self.fusion, self.head):
            part.apply(_init_weights)
        # Part of the network, so that training and robot cannot disagree about normalisation;
        # float64, so that the network is exact in float64 too.
        for name, values in (('mean', config.image_mean), ('std', config.image_std)):
            buffer = torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def encode_independent(self, image: Tensor) -> Independent:
        """Run the shallow encoder, as on every frame (Eq. 2).

        Args:
            image: RGB in [0, 1], (B, 3, H, W); normalisation happens inside.
        """
        mean, std = self.mean.to(image.dtype), self.std.to(image.dtype)
        return self.encoder.shallow((image - mean) / std)

    def encode_common(self, independent: Independent) -> Tensor:
        """Continue to the deep common feature, as on keyframes (Eq. 1).

        Returns:
            L2-normalised common feature, (B, C_F, h, w): what a non-key frame reuses.
        """
        return self.to_common(self.encoder.deep(independent.state))

    def to_common(self, deep: Tensor) -> Tensor:
        """Deep feature of the encoder -> common feature, (B, C_F, h, w)."""
        return normalise(self.common_projection(deep))

    def fuse(self, common: Tensor, independent: Independent) -> Tensor:
        """Fuse a keyframe's common feature with a frame's own independent feature (Eq. 3, 5).

        Args:
            common: From `encode_common` of this frame or of an earlier or later keyframe.
            independent: From `encode_independent` of this frame.

        Returns:
            L2-normalised fused feature, (B, C_F, h, w).
        """
        feature = self.aligned(independent, (common.shape[-2], common.shape[-1]))
        return normalise(self.fusion(common, feature))

    def aligned(self, independent: Independent, grid: tuple[int, int]) -> Tensor:
        """L2-normalised independent feature on the grid (h, w), (B, C_f, h, w)."""
        if self.training and self.config.align_before_norm:
            return normalise(align(independent.feature, grid))
        return align(normalise(independent.feature), grid)

    def classify(self, fused: Tensor) -> Tensor:
        """Class logits on the feature grid, (B, K, h, w)."""
        return self.head(fused)

    def decode(self, fused: Tensor, size: tuple[int, int]) -> Tensor:
        """Class logits at `size` = (H, W), (B, K, H, W) (Eq. 4, 6)."""
        return F.interpolate(self.classify(fused), size, mode='bilinear', align_corners=False)

    def forward(self, reference: Tensor, image: Tensor) -> Tensor:
        """Segment `image` as a non-key frame of the keyframe `reference`.

        Args:
            reference: RGB in [0, 1], (B, 3, H, W); the keyframe.
            image: RGB in [0, 1], (B, 3, H, W); the frame to segment.

        Returns:
            Logits, (B, K, H, W).
        """
        common = self.encode_common(self.encode_independent(reference))
        fused = self.fuse(common, self.encode_independent(image))
        return self.decode(fused, (image.shape[-2], image.shape[-1]))


def normalise(feature: Tensor) -> Tensor:
    """Divide every pixel's feature vector by its L2 norm (at least `least_norm`)."""
    return F.normalize(feature, dim=1, eps=least_norm(feature.dtype))


def least_norm(dtype: torch.dtype) -> float:
    """What a vector is divided by that has no length: 1e-12, or what float16 has above 0."""
    return max(1e-12, torch.finfo(dtype).tiny)


def _build_encoder(config: DCFMConfig) -> Encoder:
    if config.backbone.startswith('timm:'):
        return TimmEncoder(config)
    return MiTEncoder(config) if config.backbone.startswith('mit') else ResNetEncoder(config)


def _with_normalisation(config: DCFMConfig) -> DCFMConfig:
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    if config.backbone.startswith('timm:'):
        mean, std = timm_normalisation(config.backbone.removeprefix('timm:'))
    return replace(config, image_mean=config.image_mean or mean, image_std=config.image_std or std)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode='fan_in', nonlinearity='relu')
        if module.bias is not None:
            nn.init.zeros_(module.bias)
