"""What the numbers and colours in a dataset's label files mean.

A label file holds values; a network learns classes. A `LabelSet` leads from the one to the other,
and says which values must not occur. A label of a coarser taxonomy stands for a set of classes:
'vehicle' is a car or a bicycle, whichever of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dcfm_ros.masks.overlay import with_mixtures
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


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The classes of a dataset and how its label files encode them."""

    name: str
    class_names: tuple[str, ...]
    palette: tuple[Colour, ...]
    to_class: NDArray[np.uint8]
    """Class id of every value that a file can hold, (256,); K + i: one of `sets[i]`; 255 =
    ignored."""
    allowed: NDArray[np.bool_]
    """False for a value that a file must not hold, (256,)."""
    colours: Mapping[Colour, int] = field(default_factory=dict)
    """Value that an RGB colour stands for in labels that are painted; empty: none may be."""
    sets: tuple[tuple[int, ...], ...] = ()
    """Sets of classes, each of two or more ids, rising: of such a pixel no more is known than that
    it is one of them."""

    @property
    def num_classes(self) -> int:
        """K; class ids are 0 to K - 1."""
        return len(self.class_names)

    def classes_of(self, value: int) -> tuple[int, ...]:
        """Ids of the classes that a value of a file may stand for; none if it is ignored."""
        class_id = int(self.to_class[value])
        if class_id == UNLABELLED:
            return ()
        sets = self.sets
        return (class_id,) if class_id < self.num_classes else sets[class_id - self.num_classes]

    @property
    def entries(self) -> tuple[tuple[int, ...], ...]:
        """The classes and sets of classes that files hold, each once, in the order of values."""
        values = np.flatnonzero(self.allowed[:UNLABELLED]).tolist()
        return tuple(dict.fromkeys(filter(None, map(self.classes_of, values))))

    def entry_name(self, classes: Sequence[int]) -> str:
        """Name of a class or a set of them: 'car', 'car or bicyclist'."""
        return ' or '.join(self.class_names[index] for index in classes)

    @property
    def id_names(self) -> tuple[str, ...]:
        """Names of the ids that labels hold: K classes, and then the sets."""
        return (*self.class_names, *map(self.entry_name, self.sets))

    @property
    def id_palette(self) -> tuple[Colour, ...]:
        """Colours of the same ids; a set has the mean of its classes'."""
        return with_mixtures(self.palette, self.sets)

    def with_sets(self, sets: tuple[tuple[int, ...], ...]) -> LabelSet:
        """The same labels, where the ids from K on count the sets of several datasets.

        Args:
            sets: Those of this dataset among them.

        Raises:
            ValueError: If there are more than the ids up to 254 can count.
        """
        _check_count(self.name, self.num_classes + len(sets))
        new_id = np.arange(256, dtype=np.uint8)
        for index, classes in enumerate(self.sets):
            new_id[self.num_classes + index] = self.num_classes + sets.index(classes)
        return replace(self, sets=sets, to_class=new_id[self.to_class])

    def check_classes(self, name: str, num_classes: int) -> None:
        """Raise ValueError unless a network, of that name, has as many classes."""
        if num_classes != self.num_classes:
            expected = f'must have the {self.num_classes} classes of {self.name}'
            raise ValueError(f'{name} {expected}, got {num_classes}')


def label_set_of(
    name: str,
    class_names: tuple[str, ...],
    palette: tuple[Colour, ...],
    values: Mapping[int, int | tuple[int, ...]],
    colours: Mapping[Colour, int] | None = None,
) -> LabelSet:
    """Build a set whose files hold `values` and 255, nothing else.

    A value means a class id, or a tuple of them: one of these. One that is meant to be no class at
    all has 255.

    Raises:
        ValueError: If there are more classes and sets than the ids up to 254 can count.
    """
    to_class = np.full(256, UNLABELLED, np.uint8)
    allowed = np.zeros(256, np.bool_)
    allowed[UNLABELLED] = True
    meanings = {value: _normal(meaning) for value, meaning in values.items()}
    sets = tuple(sorted({classes for classes in meanings.values() if len(classes) > 1}))
    _check_count(name, len(class_names) + len(sets))
    for value, classes in meanings.items():
        is_set = len(classes) > 1
        to_class[value] = len(class_names) + sets.index(classes) if is_set else classes[0]
        allowed[value] = True
    return LabelSet(name, class_names, palette, to_class, allowed, colours or {}, sets)


def _check_count(name: str, total: int) -> None:
    if total > UNLABELLED:
        raise ValueError(f'{name} must have at most {UNLABELLED} classes and sets, got {total}')


def _normal(meaning: int | tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(meaning))) if isinstance(meaning, tuple) else (meaning,)


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

CAMVID = label_set_of(
    'CamVid',
    CAMVID_NAMES,
    CAMVID_PALETTE,
    {value: value for value in range(11)} | {11: UNLABELLED},
    {colour: value for value, group in enumerate(CAMVID_GROUPS) for colour in group},
)
CITYSCAPES = label_set_of(
    'Cityscapes',
    CITYSCAPES_NAMES,
    CITYSCAPES_PALETTE,
    {value: value for value in range(19)},
)
VSPW = label_set_of(
    'VSPW',
    VSPW_NAMES,
    generic_palette(len(VSPW_NAMES)),
    {value: value - 1 if 1 <= value <= 124 else UNLABELLED for value in range(256)},
)
_ID = {name: index for index, name in enumerate(CAMVID_NAMES)}
IDD_LITE = label_set_of(
    'IDD-lite',
    CAMVID_NAMES,
    CAMVID_PALETTE,
    {
        0: (_ID['road'],),  # drivable
        1: (_ID['pavement'],),  # not drivable: pavement, verge
        2: (_ID['pedestrian'], _ID['bicyclist']),  # living things, riders among them
        3: (_ID['car'], _ID['bicyclist']),  # vehicles, those with two wheels among them
        # Roadside objects; their walls are CamVid's buildings.
        4: (_ID['building'], _ID['pole'], _ID['sign'], _ID['fence']),
        5: (_ID['building'], _ID['tree']),  # far objects
        6: (_ID['sky'],),
    },
)
"""The seven coarse classes of IDD-lite, read as those of CamVid."""

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


def mapped(source: LabelSet, target: LabelSet) -> LabelSet:
    """Read the files of one dataset as the classes of another, where the two agree.

    A class goes to the one of the same name, or to its counterpart in `SAME_CLASS`; what has
    neither is ignored. A set goes to that of the counterparts, or to the only one; a set with a
    class that has none is ignored, for that class may be meant.

    Args:
        source: What the files hold.
        target: What is to be learned.

    Raises:
        ValueError: If no class agrees.
    """
    names = {name.lower(): index for index, name in enumerate(target.class_names)}
    same = SAME_CLASS.get((source.class_names, target.class_names), {})
    counterparts = [names.get(same.get(n, n).lower(), UNLABELLED) for n in source.class_names]
    if set(counterparts) == {UNLABELLED}:
        raise ValueError(f'`source` must share a class with {target.name}, got {source.name}')
    values: dict[int, int | tuple[int, ...]] = {}
    for value in np.flatnonzero(source.allowed[:UNLABELLED]).tolist():
        classes = [counterparts[index] for index in source.classes_of(value)]
        values[value] = UNLABELLED if UNLABELLED in classes or not classes else tuple(classes)
    name = f'{source.name} as {target.name}'
    return label_set_of(name, target.class_names, target.palette, values, source.colours)
