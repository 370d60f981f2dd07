"""ResNets at output stride 8, with pyramid pooling (paper IV-B).

Shapes: B batch, C channels, H W image, h w feature grid (H/8, W/8).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models.resnet import BasicBlock, Bottleneck, ResNet
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.models.backbone import DeepState, DeepStep, Encoder, Independent
from dcfm_ros.models.config import DCFMConfig


class PyramidPooling(nn.Module):
    """PSPNet's pyramid pooling: (B, C, h, w) -> (B, 2C, h, w)."""

    def __init__(self, channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels // len(bins), 1, bias=False),
                nn.BatchNorm2d(channels // len(bins)),
                nn.ReLU(),
            )
            for _ in bins
        )

    def forward(self, x: Tensor) -> Tensor:
        """Append the pooled and resized branches to `x`."""
        parts = [x]
        for bin_size, branch in zip(self.bins, self.branches, strict=True):
            part = branch(F.adaptive_avg_pool2d(x, bin_size))
            parts.append(F.interpolate(part, x.shape[-2:], mode='bilinear', align_corners=True))
        return torch.cat(parts, dim=1)


class ResNetEncoder(Encoder):
    """ResNet at output stride 8 with pyramid pooling; independent feature = layer 1, stride 4."""

    def __init__(self, config: DCFMConfig) -> None:
        super().__init__()
        layers = {'resnet18': (2, 2, 2, 2), 'resnet50': (3, 4, 6, 3), 'resnet101': (3, 4, 23, 3)}
        net: Any
        if config.backbone == 'resnet18':
            net = ResNet(BasicBlock, layers[config.backbone], num_classes=0)
        else:
            depths = layers[config.backbone]
            net = ResNet(Bottleneck, depths, num_classes=0, stem_width=64, stem_type='deep')
        stem = net.conv1 if isinstance(net.conv1, nn.Sequential) else [net.conv1]
        self.stem = nn.Sequential(*stem, net.bn1, net.act1, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        _dilate(net.layer3, 2)
        _dilate(net.layer4, 4)
        channels = 512 if config.backbone == 'resnet18' else 2048
        self.pyramid_pooling = PyramidPooling(channels) if config.pyramid_pooling else None
        self.independent_channels = channels // 8
        self.out_channels = channels * (2 if config.pyramid_pooling else 1)

    def shallow(self, image: Tensor) -> Independent:
        """Normalised image (B, 3, H, W) -> independent feature."""
        feature = self.layers[0](self.stem(image))
        return Independent(feature, feature)

    def start(self, state: Tensor) -> DeepState:
        """See `Encoder.start`."""
        return DeepState(state)

    def deep_steps(self) -> list[DeepStep]:
        """See `Encoder.deep_steps`: a residual block each, then the pooling."""
        blocks = [block for layer in self.layers[1:] for block in layer.children()]
        if self.pyramid_pooling is not None:
            blocks.append(self.pyramid_pooling)
        return [partial(_run_module, block) for block in blocks]


def _run_module(module: nn.Module, state: DeepState) -> DeepState:
    return DeepState(module(state.x), state.stages)


def _dilate(layer: nn.Module, dilation: int) -> None:
    """Trade a layer's stride for dilation. Every block's conv2 is dilated, the first one too."""
    for name, module in layer.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        module.stride = (1, 1)
        if name.endswith('conv2'):
            module.dilation = module.padding = (dilation, dilation)
