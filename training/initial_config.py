"""What the weights that a training starts from say about the network: it is built accordingly."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TypeVar

from dcfm_ros.models.config import DCFMConfig, NetworkConfig
from dcfm_ros.models.image_networks.config import ImageNetworkConfig
from dcfm_ros.models.timm_backbone import timm_normalisation
from dcfm_ros.training.ablated_network import read_network_metadata
from dcfm_ros.training.initial_checkpoint import find_file, is_checkpoint
from dcfm_ros.training.initial_weights import tagged_name
from dcfm_ros.training.pretrained_packages import find_package

NetConfig = TypeVar('NetConfig', bound=DCFMConfig)

_OF_THE_FEATURES = (
    'fuse_channels', 'common_channels', 'independent_stage', 'pyramid_pooling',
    'align_before_norm',
)  # fmt: skip
_OF_THE_HEAD = ('head', 'head_channels')


def completed(config: NetConfig, source: str | None) -> NetConfig | ImageNetworkConfig:
    """A configuration with what the weights that a training starts from settle.

    That is the normalisation of images, unless the configuration has its own, and of a checkpoint
    of this package also its `motion`, if that is 'auto'. If the configuration names no backbone,
    it is the architecture too: a 'package:' settles the backbone, a checkpoint all that is at its
    default (with 'features:', all but the head).

    Args:
        config: Of the network to be trained.
        source: As for `load_initial_weights`.

    Returns:
        A configuration with a backbone, or that of another library's network. An empty
        normalisation in it is the backbone's, see `DCFMConfig.image_mean`; `motion` stays 'auto'
        where no checkpoint settles it.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If a file is damaged, or timm does not know the tag.
        ValueError: If the backbone is named neither here nor there, or a DCFM is described here
            and another library's network is there.
    """
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    if source is None:
        pass
    elif source.startswith('package:'):
        name = find_package(source.removeprefix('package:')).timm_name
        config = replace(config, backbone=config.backbone or f'timm:{name}')
        mean, std = timm_normalisation(name)
    elif source.startswith('timm:'):
        if config.backbone:
            mean, std = timm_normalisation(tagged_name(config, source.removeprefix('timm:')))
    elif is_checkpoint(path := find_file(source)):
        known = read_network_metadata(path).config
        if isinstance(known, ImageNetworkConfig):
            return _of_library(known, config, source)
        assert isinstance(known, DCFMConfig)
        config = replace(config, motion=_motion(known, config))
        if not config.backbone:
            config = _built_as(known, config, with_head=not source.startswith('features:'))
        mean, std = known.image_mean, known.image_std
    if not config.backbone:
        msg = f'or `initial_weights` be a package or a checkpoint, got {source!r}'
        raise ValueError(f'`backbone` must be named, {msg}')
    return replace(config, image_mean=config.image_mean or mean, image_std=config.image_std or std)


def _motion(known: NetworkConfig, config: NetworkConfig) -> str:
    """What is said about motion, else that of a known network."""
    return known.motion if config.motion == 'auto' else config.motion


def _built_as(known: DCFMConfig, config: NetConfig, *, with_head: bool) -> NetConfig:
    """With the backbone of a known network, and of the rest what is at its default."""
    names = _OF_THE_FEATURES + (_OF_THE_HEAD if with_head else ())
    values = {
        field.name: getattr(known, field.name)
        for field in fields(config)
        if field.name in names and getattr(config, field.name) == field.default
    }
    return replace(config, backbone=known.backbone, **values)


def _of_library(known: ImageNetworkConfig, config: DCFMConfig, source: str) -> ImageNetworkConfig:
    """Another library's network with the classes of the data."""
    common = {field.name for field in fields(NetworkConfig)}
    described = [
        f'`{field.name}` {getattr(config, field.name)!r}'
        for field in fields(config)
        if field.name not in common and getattr(config, field.name) != field.default
    ]
    if described:
        msg = f'`model.net` must describe no DCFM where `initial_weights` is {source!r}, which is'
        raise ValueError(f'{msg} a whole network ({known.title}): got {", ".join(described)}')
    return replace(
        known.with_classes_of(config),
        motion=_motion(known, config),
        image_mean=config.image_mean or known.image_mean,
        image_std=config.image_std or known.image_std,
        confidence_temperature=config.confidence_temperature,  # of before the training
    )
