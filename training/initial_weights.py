"""Where a training starts: random weights, a network of this package, or an ImageNet backbone.

Nothing is taken in part: a file that lacks a tensor of the backbone, or has tensors of a larger
one, is refused, so that a run cannot start from random weights without saying so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import re

from safetensors.torch import load_file
import timm
from torch import Tensor

from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import RESNET_BACKBONES, DCFMConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.official import official_key, read_weights, shape_problem
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.models.timm_backbone import check_timm_name
from dcfm_ros.training.initial_checkpoint import find_file, is_checkpoint, weights_of_checkpoint
from dcfm_ros.training.pretrained_packages import find_package, is_count, read_package

_CLASSIFIER = re.compile(r'(head|fc|classifier)\.')


def load_initial_weights(net: DCFM | StagedNetwork, source: str | None) -> str:
    """Put the weights that a training starts from into a network.

    Args:
        net: The network to train; only its weights change.
        source: One of

            - None: leave it as it is.
            - 'timm:<tag>': the backbone as timm offers it under that tag ('timm:default': the tag
              that timm prefers). For timm backbones and resnet18. Needs the network, or timm's
              cache of it.
            - 'package:<name>': the backbone from an installed package of PyPI, one of
              `pretrained_packages.PACKAGES`.
            - a '.safetensors' file of this package: everything; it must fit in all but
              `dropout`, `drop_path`, `palette`, `motion` and `confidence_temperature`. The only
              choice for a network of another library.
            - 'features:<file>': everything but the head of such a file (of another library's
              network, the layers with one output per class); the classes may differ, and what is
              fused (an image network, for example).
            - a file with an ImageNet backbone: SegFormer's mit_b*.pth, the deep-stem ResNets of
              the paper (conv1, bn1, conv2, ..., layer4), torchvision's resnet18, or what timm
              publishes for a timm backbone; '.pth' or '.safetensors'.

    Returns:
        A sentence for the log.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If a file is damaged, or timm cannot offer the tag.
        ValueError: If the weights do not fit; everything that differs is listed.
    """
    if source is None:
        return 'random weights'
    loaded = _loaded(net, source)
    state = net.state_dict()
    net.load_state_dict({**state, **loaded})
    rest = sorted({_part(key) for key in state.keys() - loaded.keys() if not is_count(key)})
    sentence = f'{source}: {len(loaded)} of {len(state)} tensors'
    return f'{sentence}; random: {", ".join(rest)}' if rest else sentence


def _loaded(net: DCFM | StagedNetwork, source: str) -> dict[str, Tensor]:
    """The tensors that a network takes from a source."""
    is_features = source.startswith('features:')
    if not source.startswith(('timm:', 'package:')):
        path = find_file(source)
        if is_features or is_checkpoint(path):
            return weights_of_checkpoint(net, path, with_head=not is_features)
    if not isinstance(net, DCFM):
        msg = f'a checkpoint for a network of another library ({net.config.title})'
        raise ValueError(f'`initial_weights` must be {msg}, got {source!r}')
    if source.startswith('timm:'):
        weights = _from_timm(tagged_name(net.config, source.removeprefix('timm:')))
    elif source.startswith('package:'):
        weights = _from_package(net.config, source.removeprefix('package:'))
    else:
        weights = load_file(path) if path.suffix == '.safetensors' else read_weights(path)
    return _fit_backbone(net, source, weights)


def _part(key: str) -> str:
    """The named part of the network that a tensor belongs to, for people."""
    parts = key.split('.')
    if parts[0] == 'decoder':  # of another library, whose names are its own
        return '.'.join(parts[:-1])
    return '.'.join(parts[:2]) if parts[0] == 'encoder' else parts[0]


def _fit_backbone(net: DCFM, source: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a bare backbone under our keys; all of the backbone must be there."""
    wanted = _backbone_keys(net)
    is_timm = net.config.backbone.startswith('timm:')
    if is_timm:
        weights = {_timm_key(key): value for key, value in weights.items()}
    state, loaded, problems = net.state_dict(), {}, []
    for key, given in wanted.items():
        value, own = weights.get(given), state[key]
        if value is None:
            problems += [] if is_count(key) else [f'missing: {given}']
        elif problem := shape_problem(value, own):
            problems.append(f'shape of {given}: {problem}')
        else:
            loaded[key] = value.reshape(own.shape)
    if not is_timm:  # whose networks also have layers between the last stage and the classifier
        rest = weights.keys() - set(wanted.values())
        problems += [f'unexpected: {key}' for key in sorted(rest) if not _CLASSIFIER.match(key)]
    if problems:
        listed = '\n  '.join(problems)
        msg = f'`initial_weights` must fit {net.config.backbone}, {source} does not'
        raise ValueError(f'{msg}:\n  {listed}')
    return loaded


def _backbone_keys(net: DCFM) -> dict[str, str]:
    """Our key -> the key in a file with nothing but an ImageNet backbone."""
    backbone = net.config.backbone
    if backbone.startswith('timm:'):
        return _timm_keys(net)
    prefix = 'backbone.' if backbone in RESNET_BACKBONES else 'backbone.encoder.'
    rename = _resnet_stem(deep=backbone != 'resnet18') if prefix == 'backbone.' else str
    keys = {}
    for key in net.state_dict():
        official = official_key(key, net.config)[1]
        if official.startswith(prefix) and not official.startswith('backbone.ppm.'):
            keys[key] = rename(official.removeprefix(prefix))
    return keys


def _resnet_stem(*, deep: bool) -> Callable[[str], str]:
    """The paper's code numbers the modules of the stem; ImageNet files name them."""
    names = {'0': 'conv1', '1': 'bn1'}
    if deep:
        names |= {'3': 'conv2', '4': 'bn2', '6': 'conv3', '7': 'bn3'}
    return lambda key: re.sub(r'^layer0\.(\d)', lambda found: names[found[1]], key)


def _timm_keys(net: DCFM) -> dict[str, str]:
    """As `_backbone_keys`: our encoder has the modules of timm's feature network in its order."""
    features = timm.create_model(_timm_name(net.config), features_only=True).state_dict()
    own = [key for key in net.state_dict() if re.match(r'encoder\.(?!fuse\.)', key)]
    return {key: _timm_key(name) for key, name in zip(own, features, strict=False)}


def _timm_key(key: str) -> str:
    """A feature network says 'stages_0' or 'model.stages.0' where the whole says 'stages.0'."""
    return key.removeprefix('model.').replace('_', '.')


def _timm_name(config: DCFMConfig) -> str:
    return config.backbone.removeprefix('timm:').partition('.')[0]


def tagged_name(config: DCFMConfig, tag: str) -> str:
    """What timm calls the backbone with the weights of a tag, '<network>[.<tag>]'.

    Raises:
        CheckpointError: If timm has no such tag of it.
        ValueError: If timm has no weights for such a backbone.
    """
    if not config.backbone.startswith('timm:') and config.backbone != 'resnet18':
        msg = f'timm has no weights for {config.backbone} as the paper builds it; give a file'
        raise ValueError(f"`initial_weights` must not be 'timm:{tag}': {msg}")
    name = _timm_name(config) if tag == 'default' else f'{_timm_name(config)}.{tag}'
    try:
        check_timm_name(name)
    except ValueError as error:
        raise CheckpointError(f'timm cannot offer {name}: {error}') from None
    return name


def _from_timm(name: str) -> dict[str, Tensor]:
    """The whole network that timm offers under a name."""
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # whatever the hub, the net and the file system raise
        raise CheckpointError(f'timm cannot offer {name}: {error}') from error


def _from_package(config: DCFMConfig, name: str) -> dict[str, Tensor]:
    if (fits := find_package(name).timm_name) != _timm_name(config):
        msg = f"'package:{name}' has the weights of timm:{fits}, not of {config.backbone}"
        raise ValueError(f'`initial_weights` must fit the backbone: {msg}')
    return read_package(name)
