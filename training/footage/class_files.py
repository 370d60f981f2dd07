"""`classes.yaml`: the classes of own footage, and what the values in its masks mean."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

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
    Masks may hold ids, or be painted in the colours.

    Args:
        path: YAML or JSON file, or a folder with a classes.yaml or classes.json.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it says anything else; everything that is wrong is listed.
    """
    path = _class_file(Path(path))
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
