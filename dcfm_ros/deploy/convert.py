"""`dcfm convert --from`: networks that other libraries trained, as checkpoints of this package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dcfm_ros.deploy.source_files import (
    CONFIG,
    Source,
    load_renamed,
    read_folder_weights,
    read_json,
    read_tensors,
)
from dcfm_ros.deploy.source_smp import read_smp
from dcfm_ros.models.checkpoint_header import CheckpointError
from dcfm_ros.models.image_networks.config import LIBRARIES, ImageNetworkConfig
from dcfm_ros.models.image_networks.image_network import ImageNetwork
from dcfm_ros.models.image_networks.segformer import FIXED, SIZES, huggingface_keys
from dcfm_ros.models.image_networks.smp_network import smp_key
from dcfm_ros.models.image_networks.torchvision_network import TORCHVISION_NAMES, torchvision_key
from dcfm_ros.training.footage.class_files import load_label_set

_PREPROCESSOR = 'preprocessor_config.json'


class Converted(NamedTuple):
    """A network of another library."""

    net: ImageNetwork
    """In eval mode."""
    training: dict[str, object]
    """The training record that belongs to it."""
    notes: tuple[str, ...]
    """What was left out or assumed, a sentence each."""


def convert_network(
    library: str,
    path: Path,
    *,
    architecture: str | None = None,
    labels: str | None = None,
    cut: int | None = None,
    image_mean: tuple[float, ...] = (),
    image_std: tuple[float, ...] = (),
) -> Converted:
    """Read a network that another library left on disk; nothing is downloaded.

    Args:
        library: 'segformer' or 'smp' (`path` is a folder that save_pretrained wrote), or
            'torchvision' (`path` is a state dict, .pth or .safetensors).
        path: Of the source.
        architecture: Name of a torchvision network; for no other library.
        labels: Names and colours of the classes: as `load_label_set`. None: the source's own, or
            generic ones.
        cut: See `ImageNetworkConfig.cut`; None: 1, or where the decoder looks at no feature of
            stride 4, the first one that it looks at.
        image_mean: See `NetworkConfig.image_mean`; empty: the source's.
        image_std: See `NetworkConfig.image_std`; empty: the source's.

    Raises:
        FileNotFoundError: If a file is missing.
        CheckpointError: If a file cannot be read, is of another architecture, or its tensors do
            not fit; every mismatch is listed.
        ImportError: If SMP is needed and not installed.
        ValueError: If an option does not fit the source.
    """
    if library not in LIBRARIES:
        raise ValueError(f'`from` must be one of {", ".join(LIBRARIES)}, got {library!r}')
    for name, parts in (('mean', image_mean), ('std', image_std)):
        if not all(0 <= part <= 1 for part in parts):
            raise ValueError(f'`{name}` must be in [0, 1], as of pixels / 255, got {parts}')
    if (architecture is None) == (library == 'torchvision'):
        needed = f'one of {", ".join(TORCHVISION_NAMES)} with torchvision, and not given otherwise'
        raise ValueError(f'`architecture` must be {needed}, got {architecture!r}')
    if library == 'torchvision':
        source = _torchvision(path, str(architecture))
    elif path.exists() and not path.is_dir():
        raise CheckpointError(f'{path} must be the folder that save_pretrained wrote, not a file')
    elif library == 'segformer':
        source = _segformer(path)
    else:
        source = read_smp(path, {'mean': image_mean, 'std': image_std})
    values, notes = source.values, source.notes
    if labels is None and 'class_names' not in values:
        notes.append('classes are called class 0, class 1, ...: --labels names them')
    if labels is not None:
        label_set = load_label_set(labels)
        if label_set.num_classes != source.num_classes:
            msg = f'`labels` must have the {source.num_classes} classes of the network in {path}'
            raise ValueError(f'{msg}, got {label_set.num_classes} in {labels}')
        values |= {'class_names': label_set.class_names, 'palette': label_set.palette}
    values |= {'image_mean': image_mean} if image_mean else {}
    values |= {'image_std': image_std} if image_std else {}
    if cut is None:
        cut = 2 if str(architecture).startswith('lraspp') else 1
    config = ImageNetworkConfig(
        library=library,
        architecture=source.architecture,
        num_classes=source.num_classes,
        cut=cut,
        **values,
    )
    try:
        net = ImageNetwork(config)
    except ValueError as error:
        raise CheckpointError(f'{path}: {error}') from None
    load_renamed(net, source.weights, _NAMES[library], path)
    training = {'source': f'converted from {library}, {path.name}', **source.training}
    return Converted(net.eval(), training, tuple(notes))


_NAMES = {
    'segformer': huggingface_keys,
    'smp': lambda key: (smp_key(key),),
    'torchvision': lambda key: (torchvision_key(key),),
}


def _segformer(folder: Path) -> Source:
    path = folder / CONFIG
    config = read_json(path)
    if (kind := config.get('model_type')) != 'segformer':
        raise CheckpointError(f"{path}: `model_type` must be 'segformer', got {kind!r}")
    kinds = config.get('architectures') or ['SegformerForSemanticSegmentation']
    if 'SegformerForSemanticSegmentation' not in kinds:
        msg = f'{path}: `architectures` must be SegformerForSemanticSegmentation'
        raise CheckpointError(f'{msg}, got {kinds}')
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            raise CheckpointError(f'{path}: `{key}` must be {value!r}, got {config[key]!r}')
    if missing := [key for key in SIZES if key not in config]:
        raise CheckpointError(f'{path}: missing keys {missing}')
    weights = read_folder_weights(folder)
    names = _class_names(path, config)
    head = weights.get('decode_head.classifier.weight')
    num_classes = len(names) or (2 if head is None else int(head.shape[0]))
    notes: list[str] = []
    values, training = _preprocessing(folder / _PREPROCESSOR, notes)
    if names and set(names) != {f'LABEL_{index}' for index in range(len(names))}:
        values['class_names'] = names
    architecture = {key: config[key] for key in SIZES}
    return Source(architecture, num_classes, weights, values, training, notes)


def _class_names(path: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the order of the ids; none if the file has none."""
    table = config.get('id2label') or {}
    if sorted(table, key=str) != sorted(map(str, range(len(table)))):
        raise CheckpointError(f'{path}: `id2label` must count from 0 without gaps, got {table}')
    return tuple(str(table[str(index)]) for index in range(len(table)))


def _preprocessing(path: Path, notes: list[str]) -> tuple[dict[str, Any], dict[str, object]]:
    """Normalisation, and what the training record says of the images."""
    if not path.is_file():
        notes.append(
            f"{path.name} is missing: the normalisation is taken to be ImageNet's, the size that "
            'of the camera'
        )
        return {}, {}
    given = read_json(path)
    scale = 255 * float(given.get('rescale_factor', 1 / 255))
    if not given.get('do_rescale', True):
        scale = 255.0
    mean, std = given.get('image_mean'), given.get('image_std')
    if not given.get('do_normalize', True) or mean is None or std is None:
        mean, std = (0.0,) * 3, (1.0,) * 3
    values = {
        'image_mean': tuple(float(part) / scale for part in mean),
        'image_std': tuple(float(part) / scale for part in std),
    }
    training: dict[str, object] = {}
    size = given.get('size')
    height = size.get('height', size.get('shortest_edge')) if isinstance(size, dict) else size
    if given.get('do_resize', True) and isinstance(height, int):
        training['image_height'] = height
        width = size.get('width', height) if isinstance(size, dict) else height
        notes.append(
            f'{path.name} resizes to {height}x{width} whatever the shape of the image; here it '
            f'keeps its shape and is shrunk to {height} rows, never enlarged (option '
            'inference_height)'
        )
    if given.get('do_reduce_labels', given.get('reduce_labels')):
        training['do_reduce_labels'] = True
        notes.append('do_reduce_labels: class 0 is value 1 of the label files it was trained on')
    return values, training


def _torchvision(path: Path, name: str) -> Source:
    if name not in TORCHVISION_NAMES:
        known = ', '.join(TORCHVISION_NAMES)
        raise ValueError(f'`architecture` must be one of {known}, got {name!r}')
    if path.is_dir():
        raise CheckpointError(f'{path} must be a state dict, .pth or .safetensors, not a folder')
    weights = read_tensors(path)
    key = 'classifier.low_classifier.weight' if 'lraspp' in name else 'classifier.4.weight'
    if key not in weights:
        raise CheckpointError(f'{path} is no {name}: it has no tensor {key}')
    notes = []
    if dropped := [key for key in weights if key.startswith('aux_classifier.')]:
        notes.append(f'{len(dropped)} tensors of the auxiliary classifier are left out')
    rest = {key: value for key, value in weights.items() if key not in dropped}
    return Source({'name': name}, int(weights[key].shape[0]), rest, {}, {}, notes)
