"""The paper's backbones, each cut into a shallow and a deep part (Eq. 1, 2).

Shapes: B batch, C channels, H W image, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from timm.layers import LayerNorm
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
import torch
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.models.config import DCFMConfig


class Independent(NamedTuple):
    """What the shallow encoder found in one frame."""

    feature: Tensor
    """Raw independent feature F_in, before normalisation, (B, C_f, h, w)."""
    state: Tensor
    """What the deep encoder continues from; the same tensor wherever the network is a chain."""


class AllMLPFuse(nn.Module):
    """SegFormer's all-MLP tail: stage features -> one feature at the first stage's stride.

    Defined as: project every stage to E channels, resize to the first stage's grid, concatenate
    from the deepest to the first, 1x1 convolution to E, BN, ReLU. All but the last two is linear
    and bilinear weights sum to one, so the two products of every stage are merged into one small
    matrix and applied before the resizing: the same values at a fraction of the multiply-adds.
    """

    def __init__(self, in_channels: list[int], out_channels: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Conv2d(c, out_channels, 1) for c in in_channels)
        self.fuse = nn.Conv2d(len(in_channels) * out_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Fuse (B, C_s, h_s, w_s) of every stage, first to deepest, to (B, E, h_1, w_1)."""
        size = stages[0].shape[-2:]
        parts, biases = [], []
        for stage, (weight, bias) in zip(stages, self._merged(), strict=True):
            part = F.conv2d(stage, weight[:, :, None, None])
            if part.shape[-2:] != size:
                part = F.interpolate(part, size, mode='bilinear', align_corners=False)
            parts.append(part)
            biases.append(bias)
        fused = torch.stack(biases).sum(0).view(1, -1, 1, 1) + parts[0]
        for part in parts[1:]:
            fused = fused + part
        return self.dropout(F.relu(self.norm(fused)))

    def _merged(self) -> list[tuple[Tensor, Tensor]]:
        """Per stage, first to deepest: weight (E, C) and bias (E) of projection and fuse."""
        weights = self.fuse.weight.flatten(1).chunk(len(self.linear), dim=1)[::-1]
        merged = []
        for linear, weight in zip(self.linear, weights, strict=True):
            projection, bias = linear.get_parameter('weight'), linear.get_parameter('bias')
            merged.append((weight @ projection.flatten(1), weight @ bias))
        return merged


class MiTEncoder(nn.Module):
    """Mix Transformer with the all-MLP fuse, assembled from timm's PVT v2 (paper IV-B).

    The independent feature is taken after the first block of stage 1 (`independent_stage`).
    """

    def __init__(self, config: DCFMConfig) -> None:
        super().__init__()
        depths = _MIT_DEPTHS[config.backbone]
        dims = (32, 64, 160, 256) if config.backbone == 'mit_b0' else (64, 128, 320, 512)
        net: Any = PyramidVisionTransformerV2(
            num_classes=0,
            depths=depths,
            embed_dims=dims,
            num_heads=(1, 2, 5, 8),
            sr_ratios=(8, 4, 2, 1),
            mlp_ratios=(4.0, 4.0, 4.0, 4.0),
            qkv_bias=True,
            drop_path_rate=config.drop_path,
            norm_layer=LayerNorm,
        )
        self.patch_embed = net.patch_embed
        self.stages = net.stages
        self.fuse = AllMLPFuse(list(dims), config.fuse_channels, config.dropout)
        self.independent_stage = config.independent_stage
        blocks = {'patch': 0, 'block': 1, 'stage': depths[0]}
        self.num_shallow_blocks = blocks[config.independent_stage]
        self.independent_channels = dims[0]
        self.out_channels = config.fuse_channels

    def shallow(self, image: Tensor) -> Independent:
        """Normalised image (B, 3, H, W) -> independent feature."""
        x = self.patch_embed(image)  # (B, h, w, C)
        x = self._blocks(x, self.stages[0].blocks[: self.num_shallow_blocks])
        if self.independent_stage == 'stage':
            x = self.stages[0].norm(x)
        x = x.permute(0, 3, 1, 2).contiguous()
        return Independent(x, x)

    def deep(self, state: Tensor) -> Tensor:
        """State of the shallow part -> deep feature (B, `out_channels`, h, w)."""
        x = state
        if self.independent_stage != 'stage':
            first = self.stages[0]
            tokens = x.permute(0, 2, 3, 1)
            tokens = first.norm(self._blocks(tokens, first.blocks[self.num_shallow_blocks :]))
            x = tokens.permute(0, 3, 1, 2).contiguous()
        stages = [x]
        for stage in self.stages[1:]:
            stages.append(stage(stages[-1]))
        return self.fuse(stages)

    @staticmethod
    def _blocks(x: Tensor, blocks: Any) -> Tensor:
        size = x.shape[1:3]
        tokens: Tensor = x.flatten(1, 2)  # (B, h*w, C)
        for block in blocks:
            tokens = block(tokens, size)
        return tokens.view(x.shape[0], *size, -1)


_MIT_DEPTHS = {
    'mit_b0': (2, 2, 2, 2),
    'mit_b1': (2, 2, 2, 2),
    'mit_b2': (3, 4, 6, 3),
    'mit_b3': (3, 4, 18, 3),
    'mit_b4': (3, 8, 27, 3),
    'mit_b5': (3, 6, 40, 3),
}


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


class ResNetEncoder(nn.Module):
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

    def deep(self, state: Tensor) -> Tensor:
        """State of the shallow part -> deep feature (B, `out_channels`, h, w)."""
        x = state
        for layer in self.layers[1:]:
            x = layer(x)
        return x if self.pyramid_pooling is None else self.pyramid_pooling(x)


def _dilate(layer: nn.Module, dilation: int) -> None:
    """Trade a layer's stride for dilation. Every block's conv2 is dilated, the first one too."""
    for name, module in layer.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        module.stride = (1, 1)
        if name.endswith('conv2'):
            module.dilation = module.padding = (dilation, dilation)
