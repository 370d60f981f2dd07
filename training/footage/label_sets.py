"""What the numbers and colours in a dataset's label files mean.

A label file holds values; a network learns classes. A `LabelSet` leads from the one to the other,
and says which values must not occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import yaml

from dcfm_ros.models.labels import (
    CAMVID_NAMES,
    CAMVID_PALETTE,
    CITYSCAPES_NAMES,
    CITYSCAPES_PALETTE,
    UNLABELLED,
    VSPW_NAMES,
    generic_palette,
)

Colour = tuple[int, int, int]

CLASS_FILES = ('classes.yaml', 'classes.json')


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The classes of a dataset and how its label files encode them."""

    name: str
    class_names: tuple[str, ...]
    palette: tuple[Colour, ...]
    to_class: NDArray[np.uint8]
    """Class id of every value that a file can hold, (256,); 255 = ignored."""
    allowed: NDArray[np.bool_]
    """False for a value that a file must not hold, (256,)."""
    colours: Mapping[Colour, int] = field(default_factory=dict)
    """Value that an RGB colour stands for in labels that are painted; empty: none may be."""

    @property
    def num_classes(self) -> int:
        """K; class ids are 0 to K - 1."""
        return len(self.class_names)


def _from_values(
    name: str,
    class_names: tuple[str, ...],
    palette: tuple[Colour, ...],
    values: Mapping[int, int],
    colours: Mapping[Colour, int] | None = None,
) -> LabelSet:
    """Build a set whose files hold `values` (value -> class id) and 255, nothing else."""
    to_class = np.full(256, UNLABELLED, np.uint8)
    allowed = np.zeros(256, np.bool_)
    allowed[UNLABELLED] = True
    for value, class_id in values.items():
        to_class[value], allowed[value] = class_id, True
    return LabelSet(name, class_names, palette, to_class, allowed, colours or {})


CAMVID_GROUPS: tuple[tuple[Colour, ...], ...] = (
    ((128, 128, 128),),  # Sky
    # Building, Archway, Bridge, Tunnel, Wall
    ((128, 0, 0), (192, 0, 128), (0, 128, 64), (64, 0, 64), (64, 192, 0)),
    ((192, 192, 128), (0, 0, 64)),  # Column_Pole, TrafficCone
    ((128, 64, 128), (128, 0, 192), (192, 0, 64)),  # Road, LaneMkgsDriv, LaneMkgsNonDriv
    ((0, 0, 192), (64, 192, 128), (128, 128, 192)),  # Sidewalk, ParkingBlock, RoadShoulder
    ((128, 128, 0), (192, 192, 0)),  # Tree, VegetationMisc
    ((192, 128, 128), (128, 128, 64), (0, 64, 64)),  # SignSymbol, Misc_Text, TrafficLight
    ((64, 64, 128),),  # Fence
    # Car, SUVPickupTruck, Truck_Bus, Train, OtherMoving
    ((64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)),
    # Pedestrian, Child, CartLuggagePram, Animal
    ((64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)),
    ((0, 128, 192), (192, 0, 192)),  # Bicyclist, MotorcycleScooter
    ((0, 0, 0),),  # Void
)
"""Colours of CamVid's 32 original classes, grouped as in its 11 (SegNet's order), void last."""

CAMVID = _from_values(
    'CamVid',
    CAMVID_NAMES,
    CAMVID_PALETTE,
    {value: value for value in range(11)} | {11: UNLABELLED},
    {colour: value for value, group in enumerate(CAMVID_GROUPS) for colour in group},
)
CITYSCAPES = _from_values(
    'Cityscapes',
    CITYSCAPES_NAMES,
    CITYSCAPES_PALETTE,
    {value: value for value in range(19)},
)
VSPW = _from_values(
    'VSPW',
    VSPW_NAMES,
    generic_palette(len(VSPW_NAMES)),
    {value: value - 1 if 1 <= value <= 124 else UNLABELLED for value in range(256)},
)

SAME_CLASS: Mapping[tuple[tuple[str, ...], tuple[str, ...]], Mapping[str, str]] = {
    (CITYSCAPES_NAMES, CAMVID_NAMES): {
        'sidewalk': 'pavement',
        # CamVid's 11 classes put its own Wall with Building, its TrafficLight with SignSymbol, all
        # vehicles with Car and MotorcycleScooter with Bicyclist, see CAMVID_GROUPS.
        'wall': 'building',
        'traffic light': 'sign',
        'traffic sign': 'sign',
        'vegetation': 'tree',
        'person': 'pedestrian',
        'rider': 'bicyclist',
        'truck': 'car',
        'bus': 'car',
        'train': 'car',
        'motorcycle': 'bicyclist',
        'bicycle': 'bicyclist',
        # Terrain (grass, soil) is void, pavement or tree in CamVid, so it is left out.
    },
}
"""Classes of one set that another one knows by another name."""


KNOWN = {labels.name.lower(): labels for labels in (CAMVID, CITYSCAPES, VSPW)}


def label_set(name: str) -> LabelSet:
    """Look up 'camvid', 'cityscapes' or 'vspw'."""
    if name not in KNOWN:
        raise ValueError(f'`name` must be one of {", ".join(KNOWN)}, got {name!r}')
    return KNOWN[name]


def load_label_set(name: str) -> LabelSet:
    """A known set by its name, or that of own footage by the path of its file or folder."""
    path = Path(name)
    is_path = name not in KNOWN and (path.suffix or path.exists())
    return read_label_set(path) if is_path else label_set(name)


def mapped(source: LabelSet, target: LabelSet) -> LabelSet:
    """Read the files of one dataset as the classes of another, where the two agree.

    A class goes to the one of the same name, or to its counterpart in `SAME_CLASS`; what has
    neither is ignored.

    Args:
        source: What the files hold.
        target: What is to be learned.

    Raises:
        ValueError: If no class agrees.
    """
    names = {name.lower(): index for index, name in enumerate(target.class_names)}
    same = SAME_CLASS.get((source.class_names, target.class_names), {})
    to_target = np.full(256, UNLABELLED, np.uint8)
    for index, name in enumerate(source.class_names):
        to_target[index] = names.get(same.get(name, name).lower(), UNLABELLED)
    if (to_target == UNLABELLED).all():
        raise ValueError(f'`source` must share a class with {target.name}, got {source.name}')
    return replace(
        source,
        name=f'{source.name} as {target.name}',
        class_names=target.class_names,
        palette=target.palette,
        to_class=to_target[source.to_class],
    )


def read_label_set(path: Path) -> LabelSet:
    """Read the classes of own footage.

    The file is a table {id: {name, rgb}}, the form of the node's `labels` topic. Class ids follow
    from the order of the ids in the file. An id without a name is ignored; so is 255, always.
    Masks may hold ids, or be painted in the colours.

    Args:
        path: YAML or JSON file, or a folder with a classes.yaml or classes.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it says anything else; everything that is wrong is listed.
    """
    path = Path(path)
    if path.is_dir():
        files = [path / name for name in CLASS_FILES if (path / name).is_file()]
        if not files:
            raise FileNotFoundError(f'{path} has no {" or ".join(CLASS_FILES)}')
        path = files[0]
    try:
        table = yaml.safe_load(path.read_text(encoding='utf-8'))  # JSON is YAML as well
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is not YAML or JSON: {error}') from error
    if not isinstance(table, dict) or not table:
        raise ValueError(f'{path} must be a table {{id: {{name, rgb}}}}, got {table!r}')
    problems: list[str] = []
    entries = sorted(_parse_entry(key, entry, problems) for key, entry in table.items())
    named = [(value, name) for value, name, _ in entries if name]
    for what, counts in (
        ('id', Counter(str(value) for value, _, _ in entries)),
        ('name', Counter(name for _, name in named)),
        ('rgb', Counter(str(list(colour)) for _, _, colour in entries if colour)),
    ):
        problems += [f'{what} {key} is there {n} times' for key, n in counts.items() if n > 1]
    if not named:
        problems.append('no id has a name')
    if problems:
        raise ValueError(f'{path}: ' + '; '.join(problems))
    values = {value: UNLABELLED for value, name, _ in entries if not name}
    values |= {value: index for index, (value, _) in enumerate(named)}
    colours = {value: colour for value, _, colour in entries if colour}
    spare = generic_palette(len(named))
    palette = tuple(colours.get(value, spare[values[value]]) for value, _ in named)
    names = tuple(name for _, name in named)
    by_colour = {colour: value for value, colour in colours.items()}
    return _from_values(path.parent.name or path.stem, names, palette, values, by_colour)


def class_file_text(labels: LabelSet) -> str:
    """Contents of a classes.yaml from which `read_label_set` makes the same classes."""
    table: dict[int, dict[str, Any]] = {}
    for value in np.flatnonzero(labels.allowed[:UNLABELLED]).tolist():
        class_id = int(labels.to_class[value])
        if class_id == UNLABELLED:
            table[value] = {'name': None}
        else:
            rgb = list(labels.palette[class_id])
            table[value] = {'name': labels.class_names[class_id], 'rgb': rgb}
    return str(yaml.safe_dump(table, default_flow_style=None))


def _parse_entry(key: Any, entry: Any, problems: list[str]) -> tuple[int, str, Colour | tuple[()]]:
    """(id, name or '', colour or ()) of one line; what is wrong with it goes to `problems`."""
    if not str(key).isdecimal() or not 0 <= int(key) < UNLABELLED:
        problems.append(f'an id must be 0 to {UNLABELLED - 1}, got {key!r}')
        return -1, '', ()
    if not isinstance(entry, dict) or not entry.keys() <= {'name', 'rgb'}:
        problems.append(f'id {key} must be {{name, rgb}}, got {entry!r}')
        return int(key), '', ()
    name, rgb = entry.get('name'), entry.get('rgb', [])
    if name is not None and not (isinstance(name, str) and name.strip()):
        problems.append(f'the name of id {key} must be a text, got {name!r}')
        name = None
    is_colour = isinstance(rgb, list) and len(rgb) in (0, 3)
    if not is_colour or not all(type(part) is int and 0 <= part <= 255 for part in rgb):
        problems.append(f'the rgb of id {key} must be three numbers 0 to 255, got {rgb!r}')
        rgb = []
    return int(key), name or '', tuple(rgb)
