"""Networks of segmentation_models.pytorch (SMP), which builds them.

Shapes: B batch, C channels, K classes, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dcfm_ros.models.image_networks.config import ImageNetworkConfig
from dcfm_ros.models.image_networks.parts import Parts
from dcfm_ros.models.image_networks.smp_encoders import encoder_stages

SMP_CLASSES = (
    'Unet', 'UnetPlusPlus', 'MAnet', 'Linknet', 'FPN', 'PSPNet', 'DeepLabV3', 'DeepLabV3Plus',
    'PAN', 'UPerNet', 'Segformer',
)  # fmt: skip
"""Architectures whose decoders take the plain list of features."""
_MONOTONE = (None, 'identity', 'sigmoid', 'softmax', 'softmax2d', 'logsoftmax', 'tanh')
"""Activations that leave the best class the best one, and are left out."""
_PROBE_SIZE = 128


def smp_parts(config: ImageNetworkConfig) -> Parts:
    """Build a network of SMP with random weights.

    Raises:
        ImportError: If SMP is not installed.
        ValueError: If SMP cannot build it, or it does not fit.
    """
    net = build_smp(config.architecture['class'], config.architecture['parameters'])
    if net.segmentation_head[0].out_channels != config.num_classes:
        found = net.segmentation_head[0].out_channels
        raise ValueError(f'`num_classes` must be the {found} of SMP, got {config.num_classes}')
    stages = encoder_stages(net.encoder)
    channels = list(net.encoder.out_channels)[1:]
    is_dummy = channels[0] == 0  # transformers begin at stride 4
    decoder = _Decoder(net, _used(net))
    used = tuple(level - 1 - is_dummy for level in decoder.levels)
    return Parts(net.encoder, stages, decoder, used, num_before=0 if is_dummy else 1)


def build_smp(name: Any, parameters: dict[str, Any]) -> Any:
    """An SMP network as its config.json describes it, with random weights; downloads nothing.

    Raises:
        ImportError: If SMP is not installed.
        ValueError: If the architecture or one of its parameters cannot be used here.
    """
    if name not in SMP_CLASSES:
        known = ', '.join(SMP_CLASSES)
        raise ValueError(f'`_model_class` must be one of {known}, got {name!r}')
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        msg = "a network of segmentation_models_pytorch needs: pip install 'dcfm_ros[smp]'"
        raise ImportError(f'{msg} ({error})') from error
    given = {key: value for key, value in parameters.items() if not key.startswith('_')}
    if (channels := given.get('in_channels', 3)) != 3:
        raise ValueError(f'`in_channels` must be 3 (RGB), got {channels}')
    if (activation := given.get('activation')) not in _MONOTONE:
        msg = f'`activation` must be one of {_MONOTONE}, which do not change the best class'
        raise ValueError(f'{msg}, got {activation!r}')
    given |= {'encoder_weights': None, 'activation': None, 'aux_params': None}
    try:
        return getattr(smp, name)(**given).eval()
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise ValueError(f'SMP cannot build this {name}: {error}') from error


def size_multiple(net: Any) -> int:
    """What rows and columns of an image must be multiples of.

    Of most networks SMP demands the output stride. Unet takes every size in SMP; here its last
    step goes to a multiple of the finest feature.
    """
    if net.requires_divisible_input_shape:
        return int(net.encoder.output_stride)
    return 2 if net.encoder.out_channels[1] else 4


def smp_key(key: str) -> str:
    """Where a key of our state dict is found in SMP's."""
    return key.removeprefix('decoder.decoder.')


def _used(net: Any) -> tuple[int, ...]:
    """Levels of SMP's list of features whose contents its decoder reads; 0 is the image."""
    try:
        with torch.no_grad():
            features = net.encoder(torch.zeros(1, 3, _PROBE_SIZE, _PROBE_SIZE))
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f'the encoder does not take images of every size: {error}') from error
    leaves = [feature.detach().clone().requires_grad_() for feature in features]
    try:
        with torch.enable_grad():  # whoever builds the network may need none
            total = net.decoder(list(leaves)).sum()
    except TypeError as error:
        msg = f'the decoder of {type(net).__name__} does not take a plain list of features'
        raise ValueError(f'{msg}: {error}') from error
    gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    levels = [i for i, grad in enumerate(gradients) if grad is not None and grad.shape[1]]
    if 0 in levels:
        raise ValueError(f'the decoder of {type(net).__name__} looks at the image itself')
    return tuple(levels)


class _Decoder(nn.Module):
    """SMP's decoder and head on the features that they read.

    The list that SMP's decoders take has the image first and may have an empty feature at stride
    2; of both they want the shape, which follows from the others.
    """

    def __init__(self, net: Any, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.decoder = net.decoder
        self.segmentation_head = net.segmentation_head
        self.levels = levels
        self.num_levels = len(net.encoder.out_channels)
        stride = net.encoder.output_stride
        self.strides = [min(2**level, stride) for level in range(self.num_levels)]

    def forward(self, features: list[Tensor]) -> Tensor:
        known = dict(zip(self.levels, features, strict=True))
        finest = self.levels[0]
        batch, _, height, width = features[0].shape
        every = []
        for level in range(self.num_levels):
            scale = self.strides[finest] // self.strides[level]
            if level not in known and scale > 0:
                # Of a weight's type, not a feature's, so that it depends on no content.
                size = (batch, 0, height * scale, width * scale)
                known[level] = self.segmentation_head[0].weight.new_empty(size)
            every.append(known.get(level, features[-1]))
        return self.segmentation_head(self.decoder(every))
