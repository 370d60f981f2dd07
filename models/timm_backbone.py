"""Any timm network as a backbone, cut into a shallow and a deep part.

Shapes: B batch, C channels, H W image, h w feature grid (H/stride, W/stride).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import timm
from torch import Tensor, nn

from dcfm_ros.models.backbone import AllMLPFuse, DeepState, DeepStep, Encoder, Independent
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD, DCFMConfig


class TimmEncoder(Encoder):
    """Any timm network with stage outputs: stem + first block | the rest + the all-MLP fuse.

    The first stage ends at the first output of stride 4 or more. A network that is a chain of
    modules is cut behind the first block of that stage, or behind the stage (`independent_stage`,
    or if its blocks are no plain sequence). Of one that is no chain, the deep part starts again at
    the image, so that a keyframe computes the first stage twice; the result is the same.

    Raises:
        ValueError: If timm does not know the name or its tag, or the network offers no stage
            outputs.
    """

    def __init__(self, config: DCFMConfig) -> None:
        super().__init__()
        name = config.backbone.removeprefix('timm:')
        try:
            check_timm_name(name)
        except ValueError as error:
            msg = f'`backbone` must name a timm network, got {config.backbone!r}: {error}'
            raise ValueError(msg) from None
        try:
            net: Any = timm.create_model(name, pretrained=False, features_only=True)
        except (RuntimeError, AssertionError, AttributeError, TypeError) as error:
            msg = f'`backbone` must offer features_only, {config.backbone!r} does not: {error}'
            raise ValueError(msg) from error
        reductions = list(net.feature_info.reduction())
        self.first = next((i for i, r in enumerate(reductions) if r >= 4), 0)
        channels = list(net.feature_info.channels())[self.first :]
        self.channels_last = str(getattr(net, 'output_fmt', 'NCHW')).endswith('NHWC')
        chain = chain_of(net)
        self.net: Any = net if chain is None else None
        """The whole network, if it is no chain."""
        self.modules_shallow = self.modules_deep = nn.ModuleList()
        self.outputs: list[int] = []
        self.is_cut_behind_stage = False
        """Whether the shallow part's output is also that of the first stage."""
        if chain is not None:
            self._cut(*chain, behind_block=config.independent_stage == 'block')
        self.fuse = AllMLPFuse(channels, config.fuse_channels, config.dropout)
        self.independent_channels = channels[0]
        self.out_channels = config.fuse_channels

    def _cut(self, modules: list[nn.Module], outputs: list[int], *, behind_block: bool) -> None:
        end = outputs[self.first]
        blocks = list(modules[end].children()) if _is_sequence(modules[end]) else []
        self.is_cut_behind_stage = not behind_block or len(blocks) < 2
        if self.is_cut_behind_stage:
            shallow, deep = modules[: end + 1], modules[end + 1 :]
            self.outputs = [index - end - 1 for index in outputs[self.first + 1 :]]
        else:
            shallow = [*modules[:end], nn.Sequential(blocks[0])]
            deep = [nn.Sequential(*blocks[1:]), *modules[end + 1 :]]
            self.outputs = [index - end for index in outputs[self.first :]]
        self.modules_shallow = nn.ModuleList(shallow)
        self.modules_deep = nn.ModuleList(deep[: self.outputs[-1] + 1])

    def shallow(self, image: Tensor) -> Independent:
        """Normalised image (B, 3, H, W) -> independent feature."""
        if self.net is not None:
            return Independent(self._nchw(self._first_stage(self.net, image)), image)
        x = image
        for module in self.modules_shallow:
            x = module(x)
        return Independent(self._nchw(x), x)

    def start(self, state: Tensor) -> DeepState:
        """See `Encoder.start`."""
        return DeepState(state, (self._nchw(state),) if self.is_cut_behind_stage else ())

    def deep_steps(self) -> list[DeepStep]:
        """See `Encoder.deep_steps`: a block each, as far as timm has sequences, then the fuse."""
        if self.net is not None:
            return [self._run_network, *self.fuse.steps()]
        steps: list[DeepStep] = []
        for index, module in enumerate(self.modules_deep):
            *first, last = blocks_of(module)
            steps += [partial(self._run_block, block, is_output=False) for block in first]
            steps.append(partial(self._run_block, last, is_output=index in self.outputs))
        return [*steps, *self.fuse.steps()]

    def _run_network(self, state: DeepState) -> DeepState:
        assert self.net is not None
        stages = tuple(self._nchw(x) for x in self.net(state.x)[self.first :])
        return DeepState(state.x, stages)

    def _run_block(self, block: nn.Module, state: DeepState, *, is_output: bool) -> DeepState:
        x = block(state.x)
        return DeepState(x, (*state.stages, self._nchw(x)) if is_output else state.stages)

    def _first_stage(self, net: Any, image: Tensor) -> Tensor:
        model: Any = getattr(net, 'model', None)
        if hasattr(model, 'forward_intermediates'):
            options = {'norm': net.norm, 'output_fmt': net.output_fmt, 'stop_early': True}
            index = net.feature_info.out_indices[self.first]
            return model.forward_intermediates(
                image, indices=[index], intermediates_only=True, **options
            )[0]
        return net(image)[self.first]

    def _nchw(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self.channels_last else x


def check_timm_name(name: str) -> None:
    """Refuse what timm does not know.

    Args:
        name: '<network>' or '<network>.<tag>'.

    Raises:
        ValueError: If there is no such network, or no such tag of it; the tags are listed.
    """
    network, _, tag = name.partition('.')
    if not timm.is_model(network):
        raise ValueError(f'timm has no network {network!r}')
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        offered = timm.list_models(f'{network}.*', pretrained=True)
        tags = ', '.join(entry.partition('.')[2] for entry in offered) or 'none'
        raise ValueError(f'{network} has the tags {tags}, not {tag!r}') from None


def timm_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of RGB that timm records for a network that it has.

    Args:
        name: '<network>' or '<network>.<tag>'; without a tag, of the weights that timm prefers.
    """
    config = timm.get_pretrained_cfg(name)
    if config is None:  # a network that was registered without any weights
        return IMAGENET_MEAN, IMAGENET_STD
    return tuple(config.mean), tuple(config.std)


def chain_of(net: Any) -> tuple[list[nn.Module], list[int]] | None:
    """A feature network as modules run one after another and the indices of its outputs."""
    if getattr(net, 'feature_hooks', 0) is None and hasattr(net, '_stage_out_idx'):
        # EfficientNet and MobileNet families; in the first, bn1 includes the activation.
        stem = [net.conv_stem, net.bn1, *([net.act1] if hasattr(net, 'act1') else [])]
        return [nn.Sequential(*stem), *net.blocks], sorted(net._stage_out_idx)
    if isinstance(net, timm.models.FeatureListNet) and not net.concat:
        names = list(net.keys())
        return list(net.values()), [names.index(name) for name in net.return_layers]
    return None


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """What a module runs one after another, as far as it is nothing but a sequence."""
    if not _is_sequence(module):
        return [module]
    return [block for child in module.children() for block in blocks_of(child)]


def _is_sequence(module: nn.Module) -> bool:
    return type(module).forward is nn.Sequential.forward and len(list(module.children())) > 0
