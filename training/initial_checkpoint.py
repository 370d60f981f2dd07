"""A training that starts from a checkpoint of this package: what it must fit in, what it takes."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import NetworkConfig
from dcfm_ros.models.dcfm import DCFM
from dcfm_ros.models.image_networks.config import ImageNetworkConfig
from dcfm_ros.models.staged import StagedNetwork
from dcfm_ros.training.ablated_network import SWITCHES, load_network

_NOT_OF_THE_WEIGHTS = ('dropout', 'drop_path', 'palette', 'motion', 'confidence_temperature')
_OF_THE_HEAD = ('num_classes', 'class_names', 'head', 'head_channels')


def weights_of_checkpoint(
    net: DCFM | StagedNetwork, path: Path, *, with_head: bool
) -> dict[str, Tensor]:
    """The tensors that a network takes from a checkpoint; what else differs is said in the log.

    Args:
        net: The network to train; it is not changed.
        path: Of the checkpoint.
        with_head: False: all but the head, or the layers with one output per class of another
            library's network. What depends on them may differ.

    Raises:
        CheckpointError: If the file is damaged.
        ValueError: If the networks differ in more than they may; everything is listed.
    """
    initial = load_network(path)
    if differing := _differing(net.config, initial.config, with_head=with_head):
        is_dcfm = isinstance(initial, DCFM)
        hint = '; what `model.net` leaves out with its `backbone` is as in that file'
        if with_head and all(text.split(':')[0] in _OF_THE_HEAD for text in differing):
            hint = f'; features:{path} takes everything but the head'
            hint += '' if is_dcfm else ', `dcfm convert --labels` names its classes'
        elif not is_dcfm:
            hint = ''
        raise ValueError(f'`initial_weights` must fit the model, {path} has {differing}{hint}')
    if changed := _changed(net.config, initial.config):
        rank_zero_info(f'not as in {path}: {", ".join(changed)}')
    return {
        key: value
        for key, value in initial.state_dict().items()
        if with_head or not _is_of_head(initial.config, key)
    }


def _differing(ours: NetworkConfig, theirs: NetworkConfig, *, with_head: bool) -> list[str]:
    if type(ours) is not type(theirs) and ImageNetworkConfig in (type(ours), type(theirs)):
        return [f'a network {theirs.title!r}, not {ours.title!r}']
    free = _NOT_OF_THE_WEIGHTS if with_head else _NOT_OF_THE_WEIGHTS + _OF_THE_HEAD + SWITCHES
    plain: dict[str, object] = {}
    if not isinstance(ours, ImageNetworkConfig):
        plain = dict.fromkeys(SWITCHES, True)
    own, given = plain | ours.to_dict(), plain | _described(theirs, ours)
    return [
        f'{field}: {given[field]!r}, not {own[field]!r}'
        for field in own
        if field not in free and own[field] != given[field]
    ]


def _changed(ours: NetworkConfig, theirs: NetworkConfig) -> list[str]:
    """What may differ, does, and is no matter of the classes."""
    names = [name for name in (*_NOT_OF_THE_WEIGHTS, *SWITCHES) if name != 'palette']
    values = {name: [getattr(config, name, True) for config in (ours, theirs)] for name in names}
    changed = [
        f'{name} {own!r} ({given!r} there)'
        for name, (own, given) in values.items()
        if own != given
    ]
    is_recoloured = ours.class_names == theirs.class_names and ours.palette != theirs.palette
    return changed + ['palette'] * is_recoloured


def _described(theirs: NetworkConfig, ours: NetworkConfig) -> dict[str, object]:
    """As plain values, with the classes named once."""
    if not isinstance(theirs, ImageNetworkConfig):
        return theirs.to_dict()
    classes = {'num_classes': theirs.num_classes, 'class_names': theirs.class_names}
    return theirs.with_classes_of(ours).to_dict() | classes


def _is_of_head(config: NetworkConfig, key: str) -> bool:
    if isinstance(config, ImageNetworkConfig):
        return config.is_of_classifier(key)
    return key.startswith('head.')


def find_file(source: str) -> Path:
    """The file that '<file>' or 'features:<file>' names.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(source.removeprefix('features:'))
    if not path.is_file():
        raise FileNotFoundError(f'no such file of initial weights: {path}')
    return path


def is_checkpoint(path: Path) -> bool:
    """Whether a file says of itself that it is one of this package."""
    if path.suffix != '.safetensors':
        return False
    try:
        with safe_open(path, framework='pt') as file:
            return 'format_version' in (file.metadata() or {})
    except SafetensorError as error:
        raise CheckpointError(f'{path} is not a whole safetensors file: {error}') from None
