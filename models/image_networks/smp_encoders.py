"""The encoders of segmentation_models.pytorch (SMP) as lists of steps.

SMP's own `get_stages` begins at stride 16, so the families are known here. Shapes: B batch,
C channels, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from dcfm_ros.models.image_networks.parts import Stage, to_channels_first, to_channels_last
from dcfm_ros.models.timm_backbone import blocks_of, chain_of


def encoder_stages(encoder: Any) -> list[Stage]:
    """Steps of every feature but the image itself and an empty one, finest first.

    Raises:
        ValueError: If the encoder is of a family that is no chain of stages.
    """
    family = type(encoder).__name__
    if family == 'TimmUniversalEncoder':
        return _timm(encoder)
    names = {base.__name__ for base in type(encoder).__mro__}
    for known, stages in _FAMILIES.items():
        if known in names:
            depth = int(encoder._depth)
            found = stages(encoder)
            # One of MiT's levels, the first, is an empty feature.
            return found[: depth - (5 - len(found))]
    families = ', '.join(name.removesuffix('Encoder') for name in _FAMILIES)
    msg = f'`encoder_name` must be of a family whose stages are known ({families}, and tu- '
    raise ValueError(f'{msg}encoders that are chains), got {family.removesuffix("Encoder")}')


def _timm(encoder: Any) -> list[Stage]:
    chain = None if encoder._is_vgg_style else chain_of(encoder.model)
    if chain is None:
        raise ValueError(f'the encoder tu-{encoder.name} is no chain of stages')
    modules, outputs = chain
    stages: list[Stage] = []
    start = 0
    for end in outputs:
        steps: Stage = [block for m in modules[start : end + 1] for block in blocks_of(m)]
        if encoder._is_channel_last:
            steps = [*([to_channels_last] if start else []), *steps, to_channels_first]
        stages.append(steps)
        start = end + 1
    return stages


def _resnet(net: Any) -> list[Stage]:
    stem = [net.conv1, net.bn1, getattr(net, 'relu', None) or net.act1]
    layers: list[Stage] = [
        list(blocks_of(layer)) for layer in (net.layer1, net.layer2, net.layer3, net.layer4)
    ]
    return [stem, [net.maxpool, *layers[0]], *layers[1:]]


def _senet(net: Any) -> list[Stage]:
    layers: list[Stage] = [
        list(blocks_of(layer)) for layer in (net.layer1, net.layer2, net.layer3, net.layer4)
    ]
    return [[*blocks_of(net.layer0)], [net.layer0_pool, *layers[0]], *layers[1:]]


def _timm_efficientnet(net: Any) -> list[Stage]:
    groups = ((0, 1), (2,), (3, 4), (5, 6))
    later: list[Stage] = [
        [block for index in group for block in blocks_of(net.blocks[index])] for group in groups
    ]
    return [[net.conv_stem, net.bn1], *later]


def _efficientnet(net: Any) -> list[Stage]:
    stages: list[Stage] = [[net._conv_stem, net._bn0, net._swish], []]
    for index, block in enumerate(net._blocks):
        rate = net._drop_connect_rate * index / len(net._blocks)
        stages[-1].append(partial(_run_efficientnet_block, block, rate))
        if index in net._out_indexes:
            stages.append([])
    return [stage for stage in stages if stage][:5]


def _run_efficientnet_block(block: Any, rate: float, x: Tensor) -> Tensor:
    return block(x, rate)


def _mobilenet_v2(net: Any) -> list[Stage]:
    ends = list(net._out_indexes)
    starts = [0, *(end + 1 for end in ends)]
    return [list(net.features[start : end + 1]) for start, end in zip(starts, ends, strict=False)]


def _mobileone(net: Any) -> list[Stage]:
    stages = (net.stage0, net.stage1, net.stage2, net.stage3, net.stage4)
    return [list(blocks_of(stage)) for stage in stages]


def _mix_transformer(net: Any) -> list[Stage]:
    return [
        [
            getattr(net, f'patch_embed{number}'),
            *blocks_of(getattr(net, f'block{number}')),
            getattr(net, f'norm{number}'),
        ]
        for number in range(1, 5)
    ]


_FAMILIES = {
    'ResNetEncoder': _resnet,
    'SkNetEncoder': _resnet,
    'SENetEncoder': _senet,
    'EfficientNetBaseEncoder': _timm_efficientnet,
    'EfficientNetEncoder': _efficientnet,
    'MobileNetV2Encoder': _mobilenet_v2,
    'MobileOne': _mobileone,
    'MixVisionTransformerEncoder': _mix_transformer,
}
