"""SegFormer as Hugging Face has it: a Mix Transformer and the all-MLP decode head.

Shapes: B batch, C channels, K classes, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from functools import partial
import re
from typing import Any

from timm.layers import LayerNorm
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from torch import Tensor, nn
import torch.nn.functional as F

from dcfm_ros.models.image_networks.config import ImageNetworkConfig
from dcfm_ros.models.image_networks.parts import (
    Parts,
    Stage,
    to_channels_first,
)

SIZES = (
    'depths', 'hidden_sizes', 'num_attention_heads', 'sr_ratios', 'mlp_ratios',
    'decoder_hidden_size',
)  # fmt: skip
"""Keys of a SegFormer's config.json that say how large it is; here those of `architecture`."""
FIXED = {
    'num_channels': 3,
    'num_encoder_blocks': 4,
    'patch_sizes': [7, 3, 3, 3],
    'strides': [4, 2, 2, 2],
    'hidden_act': 'gelu',
    'reshape_last_stage': True,
}
"""Keys of config.json that all SegFormers of the paper agree in, and what they say."""
_EPS = 1e-5
"""Of layer norms. Hugging Face's config.json says 1e-6, which its code does not read."""


def segformer_parts(config: ImageNetworkConfig) -> Parts:
    """Build a SegFormer with random weights.

    Raises:
        ValueError: If a size is missing or none that fits.
    """
    sizes = config.architecture
    if missing := [key for key in SIZES if key not in sizes]:
        raise ValueError(f'`architecture` of a SegFormer lacks {missing}')
    for key in SIZES[:-1]:
        if not isinstance(sizes[key], list) or len(sizes[key]) != 4:
            raise ValueError(f'`{key}` must hold a number for each of 4 stages, got {sizes[key]}')
    net: Any = PyramidVisionTransformerV2(
        num_classes=0,
        depths=tuple(sizes['depths']),
        embed_dims=tuple(sizes['hidden_sizes']),
        num_heads=tuple(sizes['num_attention_heads']),
        sr_ratios=tuple(sizes['sr_ratios']),
        mlp_ratios=tuple(sizes['mlp_ratios']),
        qkv_bias=True,
        norm_layer=partial(LayerNorm, eps=_EPS),
    )
    decoder = AllMLPDecoder(
        sizes['hidden_sizes'], int(sizes['decoder_hidden_size']), config.num_classes
    )
    stages = [_stage(net, index) for index in range(4)]
    return Parts(net, stages, decoder, used=(0, 1, 2, 3))


def _stage(net: Any, index: int) -> Stage:
    """Embedding and first block, the other blocks, and the norm; between them (B, h, w, C)."""
    stage = net.stages[index]
    embed = stage.downsample if index else net.patch_embed
    # Image or (B, C, h, w) -> (B, h, w, C).
    steps = [embed, *(partial(_run_block, block) for block in stage.blocks)]
    return [*steps, partial(_end_stage, stage.norm)]


def _run_block(block: Any, x: Tensor) -> Tensor:
    size = x.shape[1:3]
    return block(x.flatten(1, 2), size).view(x.shape[0], *size, -1)


def _end_stage(norm: nn.Module, x: Tensor) -> Tensor:
    return to_channels_first(norm(x))


class AllMLPDecoder(nn.Module):
    """SegFormer's decode head.

    Defined as: project every stage to E channels, resize to the first stage's grid, concatenate
    from the deepest to the first, 1x1 convolution to E, BN, ReLU, classifier. All before the BN is
    linear, and bilinear weights sum to one: projection and convolution of a stage are merged into
    one matrix and applied before the resizing, and the stages are added, the deepest first, so
    that the sum over those of a keyframe is one feature.
    """

    def __init__(self, in_channels: list[int], channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear_c = nn.ModuleList(nn.Linear(c, channels) for c in in_channels)
        self.linear_fuse = nn.Conv2d(len(in_channels) * channels, channels, 1, bias=False)
        self.batch_norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """(B, C_s, h_s, w_s) of every stage, finest first -> logits, (B, K, h_1, w_1)."""
        height, width = features[0].shape[-2:]
        size = (height, width)
        total = self._part(3, features[3], size)
        for index in (2, 1, 0):
            total = total + self._part(index, features[index], size)
        return self.classifier(self.dropout(F.relu(self.batch_norm(total))))

    def _part(self, index: int, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """What a stage adds to the sum."""
        fuse = self.linear_fuse.weight.flatten(1).chunk(len(self.linear_c), dim=1)[-1 - index]
        # Not `get_parameter`, which cannot be traced.
        linear: Any = self.linear_c[index]
        weight = fuse @ linear.weight
        part = F.conv2d(feature, weight[:, :, None, None], fuse @ linear.bias)
        return F.interpolate(part, size, mode='bilinear', align_corners=False) if index else part


def huggingface_keys(key: str) -> tuple[str, ...]:
    """Keys of Hugging Face's state dict that, one below the other, are ours.

    Raises:
        ValueError: If a SegFormer has no such key.
    """
    for pattern, replacements in _KEYS:
        if found := re.fullmatch(pattern, key):
            return tuple(found.expand(replacement) for replacement in replacements)
    raise ValueError(f'a SegFormer has no {key!r}')


_ENCODER = 'segformer.encoder'
_BLOCK = rf'{_ENCODER}.block.\1.\2'
_IN_BLOCK = r'encoder\.stages\.(\d)\.blocks\.(\d+)'
_KEYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r'encoder\.patch_embed\.proj\.(\w+)', (rf'{_ENCODER}.patch_embeddings.0.proj.\1',)),
    (r'encoder\.patch_embed\.norm\.(\w+)', (rf'{_ENCODER}.patch_embeddings.0.layer_norm.\1',)),
    (
        r'encoder\.stages\.(\d)\.downsample\.proj\.(\w+)',
        (rf'{_ENCODER}.patch_embeddings.\1.proj.\2',),
    ),
    (
        r'encoder\.stages\.(\d)\.downsample\.norm\.(\w+)',
        (rf'{_ENCODER}.patch_embeddings.\1.layer_norm.\2',),
    ),
    (r'encoder\.stages\.(\d)\.norm\.(\w+)', (rf'{_ENCODER}.layer_norm.\1.\2',)),
    (rf'{_IN_BLOCK}\.norm(\d)\.(\w+)', (rf'{_BLOCK}.layer_norm_\3.\4',)),
    (rf'{_IN_BLOCK}\.attn\.q\.(\w+)', (rf'{_BLOCK}.attention.self.query.\3',)),
    (
        rf'{_IN_BLOCK}\.attn\.kv\.(\w+)',
        (rf'{_BLOCK}.attention.self.key.\3', rf'{_BLOCK}.attention.self.value.\3'),
    ),
    (rf'{_IN_BLOCK}\.attn\.sr\.(\w+)', (rf'{_BLOCK}.attention.self.sr.\3',)),
    (rf'{_IN_BLOCK}\.attn\.norm\.(\w+)', (rf'{_BLOCK}.attention.self.layer_norm.\3',)),
    (rf'{_IN_BLOCK}\.attn\.proj\.(\w+)', (rf'{_BLOCK}.attention.output.dense.\3',)),
    (rf'{_IN_BLOCK}\.mlp\.fc(\d)\.(\w+)', (rf'{_BLOCK}.mlp.dense\3.\4',)),
    (rf'{_IN_BLOCK}\.mlp\.dwconv\.(\w+)', (rf'{_BLOCK}.mlp.dwconv.dwconv.\3',)),
    (r'decoder\.decoder\.linear_c\.(\d)\.(\w+)', (r'decode_head.linear_c.\1.proj.\2',)),
    (r'decoder\.decoder\.(.*)', (r'decode_head.\1',)),
)
"""Ours as a regular expression, theirs as what it is replaced with."""
