"""Segmentation networks of torchvision.

Shapes: B batch, C channels, K classes, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from dcfm_ros.models.image_networks.config import ImageNetworkConfig
from dcfm_ros.models.image_networks.parts import Parts, Stage
from dcfm_ros.models.timm_backbone import blocks_of

TORCHVISION_NAMES = (
    'lraspp_mobilenet_v3_large', 'deeplabv3_mobilenet_v3_large', 'deeplabv3_resnet50',
    'deeplabv3_resnet101', 'fcn_resnet50', 'fcn_resnet101',
)  # fmt: skip


def torchvision_parts(config: ImageNetworkConfig) -> Parts:
    """Build a network of torchvision with random weights, without an auxiliary classifier.

    Raises:
        ImportError: If torchvision is not installed.
        ValueError: If it is none of `TORCHVISION_NAMES`.
    """
    from torchvision.models import segmentation

    name = config.architecture.get('name')
    if name not in TORCHVISION_NAMES:
        known = ', '.join(TORCHVISION_NAMES)
        raise ValueError(f'`name` of a torchvision network must be one of {known}, got {name!r}')
    options: dict[str, Any] = {'weights': None, 'weights_backbone': None}
    if not name.startswith('lraspp'):
        options['aux_loss'] = False
    net: Any = getattr(segmentation, name)(num_classes=config.num_classes, **options)
    stages = _resnet(net.backbone) if 'resnet' in name else _mobilenet(net.backbone)
    last = len(stages) - 1
    if name.startswith('lraspp'):
        return Parts(net.backbone, stages, _LiteDecoder(net.classifier), used=(1, last))
    return Parts(net.backbone, stages, _LastDecoder(net.classifier), used=(last,))


def torchvision_key(key: str) -> str:
    """Where a key of our state dict is found in torchvision's."""
    if key.startswith('encoder.'):
        return 'backbone.' + key.removeprefix('encoder.')
    return key.removeprefix('decoder.decoder.')


def _resnet(net: Any) -> list[Stage]:
    stem = [net['conv1'], net['bn1'], net['relu'], net['maxpool']]
    stages: list[Stage] = [list(blocks_of(net[f'layer{number}'])) for number in range(1, 5)]
    return [[*stem, *stages[0]], *stages[1:]]


def _mobilenet(net: Any) -> list[Stage]:
    """A stage ends with the block that halves the resolution (or would, but is dilated)."""
    modules = list(net.values())
    halving = [i for i, module in enumerate(modules) if getattr(module, '_is_cn', False)]
    ends = [*halving, len(modules) - 1]
    starts = [0, *(end + 1 for end in ends)]
    return [list(modules[start : end + 1]) for start, end in zip(starts, ends, strict=False)]


class _LiteDecoder(nn.Module):
    """LR-ASPP: the features of strides 8 and 16 -> logits at stride 8."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.classifier({'low': features[0], 'high': features[1]})


class _LastDecoder(nn.Module):
    """DeepLabV3 and FCN: the last feature -> logits on its grid."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.classifier(features[0])
