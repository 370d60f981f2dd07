"""`classes.yaml`: the classes of own footage, and what the values in its masks mean."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from dcfm_ros.files import read_table
from dcfm_ros.models.labels import UNLABELLED, generic_palette
from dcfm_ros.training.footage.label_sets import KNOWN, Colour, LabelSet, label_set_of

CLASS_FILES = ('classes.yaml', 'classes.json')


def load_label_set(name: str) -> LabelSet:
    """A known set by its name, or that of own footage by the path of its file or folder."""
    if name in KNOWN:
        return KNOWN[name]
    if not (path := Path(name)).suffix and not path.exists():
        raise ValueError(f'`labels` must be a file or one of {", ".join(KNOWN)}, got {name!r}')
    return read_label_set(path)


def read_label_set(path: Path) -> LabelSet:
    """Read the classes of own footage.

    The file is a table {id: {name, rgb}}, the form of the node's `labels` topic. Class ids follow
    from the order of the ids in the file. An id without a name is ignored; so is 255, always.
    An id with {any_of: [name, name, ...]} stands for one of those classes, of which no more is
    known; a class that has no id of its own comes after those that have one, in the order of its
    first mention. Masks may hold ids, or be painted in the colours.

    Args:
        path: YAML or JSON file, or a folder with a classes.yaml or classes.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it says anything else; everything that is wrong is listed.
    """
    path = _class_file(Path(path))
    table = read_table(path, '{id: {name, rgb}}')
    problems: list[str] = []
    entries = sorted(_parse_entry(key, entry, problems) for key, entry in table.items())
    named = [entry for entry in entries if entry.name]
    for what, counts in (
        ('id', Counter(str(entry.value) for entry in entries)),
        ('name', Counter(entry.name for entry in named)),
        ('rgb', Counter(str(list(entry.colour)) for entry in entries if entry.colour)),
    ):
        problems += [f'{what} {key} is there {n} times' for key, n in counts.items() if n > 1]
    members = [name for entry in entries for name in entry.any_of]
    names = tuple(dict.fromkeys([*(entry.name for entry in named), *members]))
    if not names:
        problems.append('no id has a name')
    if problems:
        raise ValueError(f'{path}: ' + '; '.join(problems))
    values: dict[int, int | tuple[int, ...]] = {}
    for entry in entries:
        meant = tuple(map(names.index, [entry.name] if entry.name else entry.any_of))
        values[entry.value] = meant or UNLABELLED
    painted = {entry.name: entry.colour for entry in named if entry.colour}
    spare = generic_palette(len(names))
    palette = tuple(painted.get(name, spare[index]) for index, name in enumerate(names))
    by_colour = {entry.colour: entry.value for entry in entries if entry.colour}
    return label_set_of(path.parent.name or path.stem, names, palette, values, by_colour)


def _class_file(path: Path) -> Path:
    """The file that a path means: itself, or one in the folder that it is."""
    paths = [path / name for name in CLASS_FILES] if path.is_dir() else [path]
    found = [candidate for candidate in paths if candidate.is_file()]
    if not found:
        what = 'it names the classes, a line `0: {name: road, rgb: [128, 64, 128]}` each'
        raise FileNotFoundError(f'no such file of classes: {paths[0]}; {what}')
    return found[0]


def class_file_text(labels: LabelSet) -> str:
    """Contents of a classes.yaml from which `read_label_set` makes the same classes.

    A class has one value at most, and classes with one come before those without, in the order of
    the values.
    """
    table: dict[int, dict[str, Any]] = {}
    painted = {value: list(colour) for colour, value in labels.colours.items()}
    for value in np.flatnonzero(labels.allowed[:UNLABELLED]).tolist():
        names = [labels.class_names[index] for index in labels.classes_of(value)]
        if len(names) > 1:
            table[value] = {'any_of': names}
            table[value] |= {'rgb': painted[value]} if value in painted else {}
        elif names:
            rgb = list(labels.palette[labels.class_names.index(names[0])])
            table[value] = {'name': names[0], 'rgb': rgb}
        else:
            table[value] = {'name': None}
    return str(yaml.safe_dump(table, default_flow_style=None))


class _Entry(NamedTuple):
    """One line of the file."""

    value: int
    name: str = ''
    colour: Colour | tuple[()] = ()
    any_of: tuple[str, ...] = ()


def _parse_entry(key: Any, entry: Any, problems: list[str]) -> _Entry:
    """What a line says; what is wrong with it goes to `problems`."""
    if not str(key).isdecimal() or not 0 <= int(key) < UNLABELLED:
        problems.append(f'an id must be 0 to {UNLABELLED - 1}, got {key!r}')
        return _Entry(-1)
    keys = set(entry) if isinstance(entry, dict) else {''}
    if not keys <= {'name', 'rgb'} and not {'any_of'} <= keys <= {'any_of', 'rgb'}:
        problems.append(f'id {key} must be {{name, rgb}} or {{any_of, rgb}}, got {entry!r}')
        return _Entry(int(key))
    name, rgb, any_of = entry.get('name'), entry.get('rgb', []), entry.get('any_of', ())
    if name is not None and not (isinstance(name, str) and name.strip()):
        problems.append(f'the name of id {key} must be a text, got {name!r}')
        name = None
    is_colour = isinstance(rgb, list) and len(rgb) in (0, 3)
    if not is_colour or not all(type(part) is int and 0 <= part <= 255 for part in rgb):
        problems.append(f'the rgb of id {key} must be three numbers 0 to 255, got {rgb!r}')
        rgb = []
    if 'any_of' in keys and not _is_set(any_of):
        problems.append(f'any_of of id {key} must be two or more names, got {any_of!r}')
        any_of = ()
    return _Entry(int(key), name or '', tuple(rgb), tuple(any_of))


def _is_set(any_of: Any) -> bool:
    are_names = isinstance(any_of, list) and all(isinstance(n, str) and n.strip() for n in any_of)
    return are_names and len(set(any_of)) > 1
