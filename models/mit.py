"""Mix Transformer (SegFormer's backbone), assembled from timm's PVT v2 (paper IV-B).

Shapes: B batch, C channels, H W image, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.layers import LayerNorm
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from torch import Tensor

from dcfm_ros.models.backbone import AllMLPFuse, DeepState, DeepStep, Encoder, Independent
from dcfm_ros.models.config import DCFMConfig


class MiTEncoder(Encoder):
    """Mix Transformer with the all-MLP fuse.

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
        x = x.permute(0, 3, 1, 2)
        return Independent(x, x)

    def start(self, state: Tensor) -> DeepState:
        """See `Encoder.start`; between blocks, x is (B, h, w, C)."""
        if self.independent_stage == 'stage':
            return DeepState(state, (state,))
        return DeepState(state.permute(0, 2, 3, 1))

    def deep_steps(self) -> list[DeepStep]:
        """See `Encoder.deep_steps`: a block each, then the fuse."""
        blocks: list[DeepStep] = [
            partial(self._run_block, stage, number)
            for stage in self.stages
            for number in range(len(stage.blocks))
            if stage is not self.stages[0] or number >= self.num_shallow_blocks
        ]
        return [*blocks, *self.fuse.steps()]

    def _run_block(self, stage: Any, number: int, state: DeepState) -> DeepState:
        x = state.x
        if number == 0 and stage.downsample is not None:
            x = stage.downsample(x)  # (B, C, h, w) -> (B, h, w, C)
        x = self._blocks(x, [stage.blocks[number]])
        if number < len(stage.blocks) - 1:
            return DeepState(x, state.stages)
        x = stage.norm(x).permute(0, 3, 1, 2)
        return DeepState(x, (*state.stages, x))

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
