"""What SMP's `save_pretrained` left in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dcfm_ros.deploy.source_files import CONFIG, Source, read_folder_weights, read_json
from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.config import IMAGENET_MEAN, IMAGENET_STD
from dcfm_ros.models.image_networks.smp_network import build_smp, size_multiple
from dcfm_ros.models.timm_backbone import timm_normalisation


def read_smp(folder: Path, given: Mapping[str, tuple[float, ...]]) -> Source:
    """Read such a folder; the network is built to see whether it can be.

    Args:
        folder: With config.json and model.safetensors.
        given: What the user says of 'mean' and 'std'; empty: nothing.

    Raises:
        FileNotFoundError: If a file is missing.
        CheckpointError: If it cannot be used; the message names file and key.
        ImportError: If SMP is not installed.
    """
    path = folder / CONFIG
    config = read_json(path)
    if '_model_class' not in config:
        msg = f'{path}: missing key `_model_class`; is it a folder of segmentation_models_pytorch?'
        raise CheckpointError(msg)
    name = config.pop('_model_class')
    num_classes = config.get('classes', 1)
    if not isinstance(num_classes, int) or num_classes < 2:
        msg = f'{path}: `classes` must be at least 2, one logit for each, got {num_classes!r}'
        raise CheckpointError(msg)
    try:
        net = build_smp(name, config)
    except ValueError as error:
        raise CheckpointError(f'{path}: {error}') from None
    weights = read_folder_weights(folder)
    values, notes = _smp_normalisation(str(config.get('encoder_name', '')), given)
    if config.get('activation') is not None:
        notes.append(f'activation {config["activation"]!r} is left out: it changes no mask')
    if dropped := [key for key in weights if key.startswith('classification_head.')]:
        notes.append(f'{len(dropped)} tensors of the classification head are left out')
    weights = {key: value for key, value in weights.items() if key not in dropped}
    parameters = {key: value for key, value in config.items() if not key.startswith('_')}
    parameters |= {'encoder_weights': None, 'activation': None, 'aux_params': None}
    architecture = {'class': name, 'parameters': parameters, 'size_multiple': size_multiple(net)}
    return Source(architecture, num_classes, weights, values, {}, notes)


def _smp_normalisation(
    encoder: str, given: Mapping[str, tuple[float, ...]]
) -> tuple[dict[str, Any], list[str]]:
    """What `get_preprocessing_fn` of SMP does, as far as it can be known offline.

    A note says so, but not of what is given.
    """
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    if encoder.startswith('tu-'):
        mean, std = timm_normalisation(encoder.removeprefix('tu-'))
    assumed = {'mean': mean, 'std': std}
    said = ', '.join(
        f'{name} {", ".join(map(str, values))} (--{name})'
        for name, values in assumed.items()
        if not given[name]
    )
    notes = [f'SMP does not record the normalisation: taken to be {said}'] if said else []
    return {'image_mean': mean, 'image_std': std}, notes
